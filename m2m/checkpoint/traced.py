"""Tensors without numbers that know which elements of which stored tensors they are made of.

A loader that joins, splits or turns tensors does to these what it would do to a checkpoint's. What comes out
says where each stored tensor goes, so that nobody has to know the loader's tables of names and operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from m2m.checkpoint.layout import Part

#: Names that a message lists.
_SHOWN = 3
_unfollowed: ContextVar[list[str]] = ContextVar("unfollowed")


class Block(NamedTuple):
    """A box of a traced tensor that is a box of one stored tensor."""

    #: Name of the stored tensor.
    stored: str
    #: Where the box begins in the traced tensor. [*S]
    start: tuple[int, ...]
    #: A view, without memory, of the stored tensor. [*S]
    view: Tensor


class UnfollowedError(RuntimeError):
    """An operation that does more than move elements."""


@contextmanager
def unfollowed() -> Iterator[list[str]]:
    """Collect what could not be followed; it matters only if a weight of the module is made of it.

    Yields:
        list[str]: A line for each such operation: what it is, and on which stored tensors.
    """
    found: list[str] = []
    token = _unfollowed.set(found)
    try:
        yield found
    finally:
        _unfollowed.reset(token)


class TracedTensor(Tensor):
    """A tensor without numbers, made of blocks of stored tensors.

    Attributes:
        blocks: What it is made of; they do not overlap.
    """

    blocks: tuple[Block, ...]

    @staticmethod
    def __new__(cls, shape: Sequence[int], dtype: torch.dtype, blocks: Sequence[Block]) -> Self:
        """Make one of blocks."""
        meta = torch.device("meta")
        made: Self = Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=meta)
        made.blocks = tuple(blocks)
        return made

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, blocks: Sequence[Block]) -> None:
        """Nothing is left to do."""

    @classmethod
    def stored(cls, name: str, shape: Sequence[int], dtype: torch.dtype) -> Self:
        """Stand in for a whole stored tensor."""
        view = torch.empty(shape, dtype=dtype, device="meta")
        return cls(shape, dtype, [Block(name, (0,) * len(shape), view)])

    def parts(self, target: str) -> Iterator[Part]:
        """Say what it is made of, as the module's tensor `target`."""
        for stored, start, view in self.blocks:
            yield Part(stored, int(view.storage_offset()), tuple(view.shape), view.stride(), target, start)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do what moves elements to the blocks; what everything else makes is of no stored tensor."""
        follow = _FOLLOWED.get(func.overloadpacket, _refuse)
        try:
            return follow(*args, **kwargs or {})
        except UnfollowedError as error:
            names = sorted({block.stored for each in _traced(args) for block in each.blocks})
            _unfollowed.get([]).append(f"{func.overloadpacket} on {', '.join(names[:_SHOWN])}: {error}")
        if func._schema.is_mutable:  # initialisation, which leaves what was loaded as it is
            return args[0]
        return func(*tree_map(_untraced, args), **tree_map(_untraced, kwargs or {}))


def _refuse(*_: object, **__: object) -> None:
    raise UnfollowedError("it computes with weights")


def _untraced(value: Any) -> Any:
    if isinstance(value, TracedTensor):
        return torch.empty(value.shape, dtype=value.dtype, device="meta")
    return torch.device("meta") if isinstance(value, torch.device) else value


def _traced(args: Iterable[Any]) -> Iterator[TracedTensor]:
    for value in args:
        if isinstance(value, TracedTensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _traced(value)


def _same(tensor: TracedTensor, *_: object, dtype: torch.dtype | None = None, **__: object) -> TracedTensor:
    return TracedTensor(tensor.shape, dtype or tensor.dtype, tensor.blocks)


def _cut(tensor: TracedTensor, axis: int, begin: int, end: int) -> TracedTensor:
    blocks = []
    for stored, start, view in tensor.blocks:
        low, high = max(begin, start[axis]), min(end, start[axis] + view.shape[axis])
        if low < high:
            kept = view.narrow(axis, low - start[axis], high - low)
            blocks.append(Block(stored, (*start[:axis], low - begin, *start[axis + 1 :]), kept))
    shape = [*tensor.shape]
    shape[axis] = end - begin
    return TracedTensor(shape, tensor.dtype, blocks)


def _slice(
    tensor: TracedTensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> TracedTensor:
    begin, stop, step = slice(start, end, step).indices(tensor.shape[dim])
    if step != 1:
        raise UnfollowedError(f"a slice with the step {step}")
    return _cut(tensor, dim % tensor.dim(), begin, max(begin, stop))


def _select(tensor: TracedTensor, dim: int, index: int) -> TracedTensor:
    axis = dim % tensor.dim()
    place = index % tensor.shape[axis]
    return _squeeze(_cut(tensor, axis, place, place + 1), axis)


def _split(tensor: TracedTensor, size: int | Sequence[int], dim: int = 0) -> list[TracedTensor]:
    axis, length = dim % tensor.dim(), tensor.shape[dim]
    sizes = [min(size, length - at) for at in range(0, length, size)] if isinstance(size, int) else size
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [_cut(tensor, axis, end - own, end) for end, own in zip(ends, sizes, strict=True)]


def _unbind(tensor: TracedTensor, dim: int = 0) -> list[TracedTensor]:
    return [_select(tensor, dim, k) for k in range(tensor.shape[dim])]


def _permute(tensor: TracedTensor, dims: Sequence[int]) -> TracedTensor:
    axes = [axis % tensor.dim() for axis in dims]
    blocks = [
        Block(stored, tuple(start[axis] for axis in axes), view.permute(axes))
        for stored, start, view in tensor.blocks
    ]
    return TracedTensor([tensor.shape[axis] for axis in axes], tensor.dtype, blocks)


def _transpose(tensor: TracedTensor, dim0: int = 0, dim1: int = 1) -> TracedTensor:
    axes = [*range(tensor.dim())]
    axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return _permute(tensor, axes)


def _squeeze(tensor: TracedTensor, dim: int | Sequence[int] | None = None) -> TracedTensor:
    asked = range(tensor.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    gone = {axis % tensor.dim() for axis in asked if tensor.shape[axis] == 1}
    left = [axis for axis in range(tensor.dim()) if axis not in gone]
    blocks = [
        Block(stored, tuple(start[axis] for axis in left), view.squeeze(tuple(gone)) if gone else view)
        for stored, start, view in tensor.blocks
    ]
    return TracedTensor([tensor.shape[axis] for axis in left], tensor.dtype, blocks)


def _unsqueeze(tensor: TracedTensor, dim: int) -> TracedTensor:
    axis = dim % (tensor.dim() + 1)
    blocks = [
        Block(stored, (*start[:axis], 0, *start[axis:]), view.unsqueeze(axis))
        for stored, start, view in tensor.blocks
    ]
    return TracedTensor([*tensor.shape[:axis], 1, *tensor.shape[axis:]], tensor.dtype, blocks)


def _cat(tensors: Sequence[TracedTensor], dim: int = 0) -> TracedTensor:
    for tensor in tensors:
        if not isinstance(tensor, TracedTensor):
            raise UnfollowedError("numbers that are not stored are joined to weights")
    axis, blocks, length = dim % tensors[0].dim(), [], 0
    for tensor in tensors:
        for stored, start, view in tensor.blocks:
            moved = (*start[:axis], start[axis] + length, *start[axis + 1 :])
            blocks.append(Block(stored, moved, view))
        length += tensor.shape[axis]
    shape = [*tensors[0].shape]
    shape[axis] = length
    return TracedTensor(shape, tensors[0].dtype, blocks)


def _stack(tensors: Sequence[TracedTensor], dim: int = 0) -> TracedTensor:
    return _cat([_unsqueeze(tensor, dim) for tensor in tensors], dim)


def _pad(tensor: TracedTensor, pad: Sequence[int], *_: object) -> TracedTensor:
    if any(pad):
        raise UnfollowedError("numbers that are not stored are joined to weights")
    return tensor


def _view(tensor: TracedTensor, shape: Sequence[int]) -> TracedTensor:
    wanted = _without_guess(tensor.shape.numel(), shape)
    if tuple(wanted) == tuple(tensor.shape):
        return tensor
    if len(tensor.blocks) != 1:
        raise UnfollowedError("a tensor that was joined of several is reshaped")
    [(stored, _, view)] = tensor.blocks
    blocks = [Block(stored, start, box) for start, box in _reshaped(view, wanted)]
    return TracedTensor(wanted, tensor.dtype, blocks)


def _reshaped(view: Tensor, shape: Sequence[int]) -> list[tuple[tuple[int, ...], Tensor]]:
    # Boxes of a reshaped view: one where its strides allow, else one for each index of the first axis that is
    # joined with the axes after it.
    try:
        return [((0,) * len(shape), view.view(shape))]
    except RuntimeError:
        pass
    for axis, new in _joined_axes(view.shape, shape):
        rest = shape[new] // view.shape[axis]
        smaller = [*shape[:new], rest, *shape[new + 1 :]]
        return [
            ((*start[:new], start[new] + k * rest, *start[new + 1 :]), box)
            for k, piece in enumerate(view.unbind(axis))
            for start, box in _reshaped(piece, smaller)
        ]
    raise UnfollowedError(f"a tensor {list(view.shape)} is reshaped to {list(shape)}")


def _joined_axes(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[int, int]]:
    # The first of several old axes that become one new axis, and that.
    i = j = 0
    while i < len(old) and j < len(new):
        first, have, want = i, old[i], new[j]
        while have != want:
            if have > want:
                j += 1
                want *= new[j]
            else:
                i += 1
                have *= old[i]
        if i > first and want == new[j]:
            yield first, j
        i, j = i + 1, j + 1


def _without_guess(elements: int, shape: Sequence[int]) -> list[int]:
    known = math.prod(length for length in shape if length != -1)
    return [elements // known if length == -1 else length for length in shape]


_aten = torch.ops.aten
_FOLLOWED: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((_aten.detach, _aten.alias, _aten.clone, _aten._to_copy, _aten.lift_fresh), _same),
    **dict.fromkeys((_aten.view, _aten._unsafe_view, _aten.reshape), _view),
    **dict.fromkeys((_aten.split, _aten.split_with_sizes), _split),
    _aten.slice: _slice, _aten.select: _select, _aten.unbind: _unbind, _aten.permute: _permute,
    _aten.transpose: _transpose, _aten.t: _transpose, _aten.squeeze: _squeeze, _aten.unsqueeze: _unsqueeze,
    _aten.cat: _cat, _aten.stack: _stack, _aten.constant_pad_nd: _pad,
}  # fmt: skip
