"""One live module that takes the weights of any candidate, without a copy of the model in between."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from m2m.checkpoint.layout import Box, Layout, Part
from m2m.errors import CheckpointError, ConfigError, MixtureError
from m2m.ops import accumulation_dtype
from m2m.scoring.live.box_sums import sum_into_boxes, walking_order
from m2m.support.arrays import Floats


class OtherSum(Protocol):
    """A tensor of merged models that is a sum of other terms than the experts' own tensors.

    Attributes:
        nbytes: Memory that the terms take while they are summed.
    """

    nbytes: int

    def write(self, outs: Sequence[Tensor], weights: Floats, threads: int | None) -> None:
        """Merge with experts' weights [M, N] into M contiguous tensors in host memory, each [*shape]."""


@dataclass(frozen=True)
class _Place:
    """The memory of one tensor of the module, or of several that are tied.

    Attributes:
        names: Its names.
        holders: The module's parameter or buffer objects. each [*shape]
        live: The module's own memory. [*shape]
    """

    names: tuple[str, ...]
    holders: tuple[Tensor, ...]
    live: Tensor

    def hold(self, memory: Tensor) -> None:
        """Let the module use this memory."""
        for holder in self.holders:
            holder.data = memory

    def stacked(self, count: int) -> Tensor:
        """Take memory for several candidates, each one's lying as the module's does: [K, *shape]."""
        size = self.live.numel()
        strides = (size, *self.live.stride())
        return torch.empty_strided(
            (count, *self.live.shape), strides, dtype=self.live.dtype, device=self.live.device
        )


@dataclass(frozen=True)
class _Slot:
    """A box of a place, and what may go into it.

    Attributes:
        place: Number of the place.
        part: What of the stored tensor it is, and where it lies.
        order: The axes in the order in which both are walked through.
        shape: Shape of the stored tensor.
        dtype: Type of the merged tensor as it would be stored; the module's may be another.
        base: θ₀'s part, axes in that order. [*S]
        experts: The experts' parts, axes likewise; all with the module, or all in host memory. [N] of [*S]
        other: What merged tensors are sums of instead of the experts'; None if they are not.
        merged: Whether it is averaged; else `experts` has the one tensor that every candidate has.
    """

    place: int
    part: Part
    order: tuple[int, ...]
    shape: torch.Size
    dtype: torch.dtype
    base: Tensor
    experts: tuple[Tensor, ...]
    other: OtherSum | None
    merged: bool

    def write(self, memories: Sequence[Tensor], alpha: Tensor, threads: int | None) -> None:
        """Merge into the places' memories; what is never averaged is copied."""
        outs = [self.part.within(memory).permute(self.order) for memory in memories]
        if not self.merged:
            for out in outs:
                out.copy_(self.experts[0])
            return
        if self.other is not None:
            self._write_other(self.other, outs, alpha, threads)
            return
        sum_into_boxes(outs, self.experts, alpha, self.dtype, threads=threads)

    def _write_other(
        self, other: OtherSum, outs: Sequence[Tensor], alpha: Tensor, threads: int | None
    ) -> None:
        first = outs[0]
        if (first.shape, first.dtype, first.device.type) == (self.shape, self.dtype, "cpu") and (
            self.part.is_run and first.is_contiguous() and list(self.order) == sorted(self.order)
        ):
            other.write(outs, alpha.numpy(), threads)
            return
        merged = [torch.empty(self.shape, dtype=self.dtype) for _ in outs]
        other.write(merged, alpha.numpy(), threads)
        for out, tensor in zip(outs, merged, strict=True):
            out.copy_(self.part.of(tensor).permute(self.order))

    def write_base(self, memory: Tensor) -> None:
        """Write θ₀ into the place's memory."""
        self.part.within(memory).permute(self.order).copy_(self.base)


class LiveModel:
    """A module, its base weights and N experts, all checked against each other once.

    Args:
        model: The module to write into.
        base: θ₀, tensor by name.
        experts: The experts' states, with the base's names and shapes; floats may be of other types. [N]
        names: What messages call the experts; their numbers if not given. [N]
        device: Where the module is moved to, and candidates are merged; None: where it is. The states may
            be there too, or in host memory.
        sums: By the base's names, tensors of merged models that are other sums than the experts' tensors'.
        layout: How stored tensors make up the module's; None: each is the module's of its name.
        kept: Tensors, by the base's names, that are the base's in every merged model.

    Attributes:
        model: The module.
        experts: N.

    Raises:
        CheckpointError: If a state does not fit, is not finite, or integer or tied tensors differ;
            names the expert, the tensor, what was got and what was wanted.
    """

    def __init__(
        self,
        model: nn.Module,
        base: Mapping[str, Tensor],
        experts: Sequence[Mapping[str, Tensor]],
        names: Sequence[str] | None = None,
        device: torch.device | None = None,
        sums: Mapping[str, OtherSum] | None = None,
        layout: Layout | None = None,
        kept: Collection[str] = (),
    ) -> None:
        self.model = model
        self.experts = len(experts)
        tied = _tied_tensors(model)
        if device is not None:
            tied = _moved(model, tied, device)
        shapes = {name: tuple(tensor.shape) for name, tensor in base.items()}
        layout = layout or Layout.plain(shapes)
        boxes = layout.boxes("the base model", {names: holders[0] for names, holders in tied.items()})
        who = [f"expert {name}" for name in names or range(len(experts))]
        named = dict(zip(who, experts, strict=True))
        for name, expert in named.items():
            _check_like_base(name, expert, base, sums or {}, kept)
        self._places = [_Place(names, tied[names], tied[names][0].detach()) for names in boxes]
        self._slots = [
            _slot(place, self._places[place].live, box, base, named, sums or {}, kept)
            for place, found in enumerate(boxes.values())
            for box in found
        ]
        self._ahead: list[list[Tensor]] = []
        self._in_memory: Tensor | None = None

    def merge(self, weights: ArrayLike, threads: int | None = None) -> None:
        """Write the merged model θ̃ = Σ_n α_n θ_n into the module.

        The bits are those of `m2m.weighted_sum`, so also those of merging to disk and loading. Integer and
        bool tensors are the experts' common ones.

        Args:
            weights: Merging weights α of one candidate. [1, N]
            threads: CPU threads of the sum; None for the kernel's own choice.
        """
        alpha = torch.from_numpy(checked_weights(weights, self.experts))
        for place in self._places:
            place.hold(place.live)
        for slot in self._slots:
            slot.write([self._places[slot.place].live], alpha, threads)

    def merge_ahead(self, weights: ArrayLike, threads: int | None = None) -> None:
        """Merge several candidates in one pass over the experts, for `show` to put them into the module.

        Takes memory for K models, which is kept for the next call; what was merged last is not merged again.
        The bits are those of `merge`.

        Args:
            weights: Merging weights α, a row a candidate. [K, N]
            threads: CPU threads of the sum; None for the kernel's own choice.
        """
        alpha = torch.from_numpy(checked_weights(weights, self.experts))
        if self._in_memory is not None and torch.equal(alpha, self._in_memory):
            return
        self._in_memory = None  # until all of it is there
        self.make_room(len(alpha))
        for slot in self._slots:
            slot.write([model[slot.place] for model in self._ahead[: len(alpha)]], alpha, threads)
        self._in_memory = alpha

    def make_room(self, candidates: int) -> None:
        """Take the memory that `merge_ahead` needs, where it is not there yet.

        Args:
            candidates: K.
        """
        while len(self._ahead) < candidates:
            self._ahead.append([torch.empty_like(place.live) for place in self._places])

    def show(self, candidate: int) -> None:
        """Let the module use the weights of a candidate of the last `merge_ahead`; nothing is copied.

        Args:
            candidate: Its row.
        """
        for place, memory in zip(self._places, self._ahead[candidate], strict=True):
            place.hold(memory)

    def merge_stacked(self, weights: ArrayLike, threads: int | None = None) -> dict[str, Tensor]:
        """Merge several candidates in one pass into tensors of their own; the module stays as it is.

        The bits are those of `merge`.

        Args:
            weights: Merging weights α, a row a candidate. [K, N]
            threads: CPU threads of the sum; None for the kernel's own choice.

        Returns:
            By name, the candidates' tensors along a new first axis. each [K, *shape]
        """
        alpha = torch.from_numpy(checked_weights(weights, self.experts))
        memories = [place.stacked(len(alpha)) for place in self._places]
        for slot in self._slots:
            slot.write(memories[slot.place].unbind(), alpha, threads)
        pairs = zip(self._places, memories, strict=True)
        return {name: memory for place, memory in pairs for name in place.names}

    def restore(self) -> None:
        """Give the module its own memory back, with the base weights θ₀ in it."""
        for place in self._places:
            place.hold(place.live)
        for slot in self._slots:
            slot.write_base(self._places[slot.place].live)


def checked_weights(weights: ArrayLike, experts: int) -> Floats:
    """Read the candidates' merging weights.

    Args:
        weights: A row a candidate. [M, N]
        experts: N.

    Returns:
        The weights as float64. [M, N]

    Raises:
        MixtureError: If they are not M rows of N finite numbers.
    """
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != experts:
        raise MixtureError(
            f"weights must be [M, {experts}], a row a candidate; got shape {list(matrix.shape)}"
        )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise MixtureError(f"weights of candidate {bad[0]} must be finite, got {matrix[bad[0]].tolist()}")
    return matrix


def _tied_tensors(model: nn.Module) -> dict[tuple[str, ...], tuple[Tensor, ...]]:
    # By their names, the objects that share one memory; `keep_vars` gives the objects themselves.
    groups: dict[tuple[int, ...], list[str]] = {}
    state = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        place = (tensor.data_ptr(), *tensor.shape, *tensor.stride()) if tensor.numel() else (id(tensor),)
        groups.setdefault(place, []).append(name)
    return {tuple(names): tuple(state[name] for name in names) for names in groups.values()}


def _moved(
    model: nn.Module, tied: Iterable[tuple[str, ...]], device: torch.device
) -> dict[tuple[str, ...], tuple[Tensor, ...]]:
    # Moving gives objects that share one memory a memory each, and buffers new objects.
    empty = next((name for name, tensor in model.state_dict().items() if tensor.is_meta), None)
    if empty is not None and device.type != "meta":
        raise ConfigError(f"the module's {empty!r} is on the meta device: it must be made with memory")
    model.to(device)
    state = model.state_dict(keep_vars=True)
    moved = {names: tuple(state[name] for name in names) for names in tied}
    for first, *others in moved.values():
        for other in others:
            other.data = first.data
    return moved


def _check_like_base(
    who: str,
    expert: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    sums: Mapping[str, OtherSum],
    kept: Collection[str],
) -> None:
    missing, unknown = sorted(set(base) - set(expert)), sorted(set(expert) - set(base))
    if missing or unknown:
        raise CheckpointError(f"{who} is not like the base: missing {missing[:5]}, unknown {unknown[:5]}")
    for name, wanted in base.items():
        if name in kept:
            continue
        if name not in sums or expert[name].shape != wanted.shape:
            _check_kind(f"{who}, tensor {name}", expert[name], wanted)
        _check_finite(f"{who}, tensor {name}", expert[name])


def _check_kind(where: str, got: Tensor, wanted: Tensor) -> None:
    both_floats = got.is_floating_point() and wanted.is_floating_point()
    if got.shape != wanted.shape or (got.dtype != wanted.dtype and not both_floats):
        raise CheckpointError(
            f"{where}: got {list(got.shape)} {got.dtype}, wanted {list(wanted.shape)} {wanted.dtype}"
        )


def _check_finite(where: str, tensor: Tensor) -> None:
    # What is not finite makes the sum so; the sum is one pass, and overflows only where a look is due anyway.
    if not tensor.is_floating_point() or torch.isfinite(tensor.sum(dtype=accumulation_dtype(tensor.dtype))):
        return
    if not (finite := torch.isfinite(tensor)).all():
        index = (~finite).nonzero()[0].tolist()
        raise CheckpointError(f"{where}: element {index} is {tensor[tuple(index)].item()}")


def _slot(
    place: int,
    live: Tensor,
    box: Box,
    base: Mapping[str, Tensor],
    experts: Mapping[str, Mapping[str, Tensor]],
    sums: Mapping[str, OtherSum],
    kept: Collection[str],
) -> _Slot:
    part, source = box.first, box.first.stored
    _check_kind(f"the base model, tensor {source}", part.of(base[source]), part.within(live))
    is_kept = source in kept
    merged = live.is_floating_point() and not is_kept
    if not is_kept:
        _check_alike(box, experts, equal=not merged)
    # Both are walked through as the module's memory lies; a part that is no run of its stored tensor as that
    # lies, so that no expert has to be copied for it.
    order = walking_order(live.stride() if part.is_run else part.strides)
    found = [part.of(state[source]).permute(order) for state in (base, *experts.values())]
    if part.is_run:
        found = [tensor.contiguous() for tensor in found]
    terms = found[1:] if merged else found[:1] if is_kept else found[1:2]
    other = sums.get(source) if merged else None
    stored = base[source]
    return _Slot(place, part, order, stored.shape, stored.dtype, found[0], tuple(terms), other, merged)


def _check_alike(box: Box, experts: Mapping[str, Mapping[str, Tensor]], *, equal: bool) -> None:
    # Tied tensors that are stored each, and those that are never averaged, leave no choice only if equal.
    part, (first, *_) = box.first, experts.values()
    for who, expert in experts.items():
        own = part.of(expert[part.stored])
        for other in box.parts[1:]:
            if not torch.equal(own, other.of(expert[other.stored])):
                raise CheckpointError(
                    f"{who}: {part.stored} and {other.stored} are tied in the module but differ"
                )
        if equal and not torch.equal(own, part.of(first[part.stored])):
            raise CheckpointError(
                f"{who}, tensor {part.stored}: {own.dtype} is never averaged, but differs from another "
                "expert's"
            )
