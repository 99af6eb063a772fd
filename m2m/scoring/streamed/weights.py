"""A hollow module: its weights have names, shapes and strides, but memory only while they are needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.header import MERGEABLE, SIZES, TORCH_NAMES
from m2m.checkpoint.layout import Box, Layout
from m2m.errors import CheckpointError
from m2m.scoring.streamed.coroutine import Operation


def build_hollow(build: Callable[[], nn.Module], layout: Callable[[], Layout | None]) -> HollowModule:
    """Build a module in evaluation mode whose parameters and persistent buffers are there without memory.

    Args:
        build: Makes the module; it may initialise weights and should not load any.
        layout: Says, once it is built, how stored tensors make up the module's; None: by their names.

    Returns:
        The module and its layout.

    Raises:
        CheckpointError: If a buffer that no checkpoint holds was computed from weights.
    """
    # Each parameter is moved to the meta device as it is made, so that at most one has memory at a time;
    # other buffers (rotary frequencies, masks) are computed as usual. In the end every weight is a CPU tensor
    # with an empty storage, tied ones still one object.
    model = build_on_meta(build)
    how = layout()
    own = how.own if how is not None else ()
    kept = {id(tensor) for name, tensor in weights_by_name(model).items() if name not in own}
    for name, buffer in model.named_buffers():
        if buffer.is_meta and id(buffer) not in kept:
            raise CheckpointError(
                f"buffer {name} is in no checkpoint, and was computed from weights when built"
            )
    _empty_storages(model, kept)
    return HollowModule(model.eval(), how)


def build_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module, as the factory leaves it, whose parameters are on the meta device."""
    hook = register_module_parameter_registration_hook(_on_meta)  # type: ignore[arg-type]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*copying from a non-meta parameter", UserWarning)
            return build()
    finally:
        hook.remove()


def weights_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Name parameters and persistent buffers; tied ones are one object under several names."""
    state: dict[str, object] = model.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
    if parameter is None or parameter.is_meta:
        return None
    return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)


def _empty_storages(model: nn.Module, kept: set[int]) -> None:
    made: dict[int, Tensor] = {}
    for module in model.modules():
        tensors: dict[str, Tensor | None] = {**module._parameters, **module._buffers}
        for name, tensor in tensors.items():
            if tensor is not None and id(tensor) in kept:
                # setattr, so that modules with lists of their weights (recurrent ones) see the new one
                setattr(module, name, made.setdefault(id(tensor), _without_memory(tensor)))


def _without_memory(tensor: Tensor) -> Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    empty.untyped_storage().resize_(0)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


class HollowModule(NamedTuple):
    """A module without memory for its weights, and what they are made of."""

    module: nn.Module
    #: How stored tensors make up the module's; None: each is that of its name.
    layout: Layout | None


@dataclass(frozen=True, eq=False)
class Weight:
    """One tensor of a module that its checkpoint fills; tied tensors are one."""

    live: Tensor  #: the module's; its storage has memory only while it is needed
    boxes: tuple[Box, ...]  #: what fills it, together
    widest: int = 0  #: bytes of what fills it, in the checkpoint that takes the most for it

    @property
    def name(self) -> str:
        """What messages call it."""
        more = f" and {len(self.boxes) - 1} more" if len(self.boxes) > 1 else ""
        return self.boxes[0].first.stored + more

    @property
    def nbytes(self) -> int:
        """Its length in bytes, in the module or as it is read, whichever is more."""
        return max(self.memory, self.widest)

    @property
    def floats(self) -> bool:
        """Whether it is of floats, which are averaged."""
        return self.live.is_floating_point()

    @property
    def memory(self) -> int:
        """Its length in bytes in the module."""
        return self.live.numel() * self.live.element_size()

    def allocate(self) -> None:
        """Give it memory, without defined content."""
        last = sum((n - 1) * step for n, step in zip(self.live.shape, self.live.stride(), strict=True))
        self.live.untyped_storage().resize_((last + 1) * self.live.element_size())

    def drop(self) -> None:
        """Take its memory away."""
        self.live.untyped_storage().resize_(0)


class Weights:
    """All weights of a hollow module.

    Args:
        hollow: The module, and what its weights are made of.
        base: The base model; a CheckpointError where it has others, by name, shape or kind.
        experts: The experts, with the base's tensor names.
    """

    def __init__(self, hollow: HollowModule, base: Checkpoint, experts: Sequence[Checkpoint] = ()) -> None:
        layout = hollow.layout or Layout.plain(
            {name: info.shape for name, info in base.tensors.items()}, base.tied
        )
        tied = _tied(weights_by_name(hollow.module))
        module = {tuple(names): live for live, names in tied if live.numel()}
        boxes = layout.boxes(str(base.path), {tuple(names): live for live, names in tied})
        self.all = [
            _weight(base, experts, live, boxes[names]) for names, live in module.items() if names in boxes
        ]
        self._by_storage = {weight.live.untyped_storage()._cdata: weight for weight in self.all}

    @property
    def sizes(self) -> dict[Weight, int]:
        """Bytes of each weight."""
        return {weight: weight.nbytes for weight in self.all}

    def needed(self, operation: Operation) -> frozenset[Weight]:
        """Find the weights among an operation's operands, and those that its operands are views of."""
        found = set()
        for tensor in operation.tensors():
            if tensor.is_meta:
                raise CheckpointError(
                    f"the forward pass uses a tensor {list(tensor.shape)} in {operation.function} that no "
                    "checkpoint holds: it was computed from weights when the module was built"
                )
            if tensor.layout is torch.strided:
                weight = self._by_storage.get(tensor.untyped_storage()._cdata)
                if weight is not None:
                    found.add(weight)
        return frozenset(found)


def _tied(named: Mapping[str, Tensor]) -> list[tuple[Tensor, list[str]]]:
    groups: dict[int, tuple[Tensor, list[str]]] = {}
    for name, tensor in named.items():
        groups.setdefault(id(tensor), (tensor, []))[1].append(name)
    return list(groups.values())


def _weight(base: Checkpoint, experts: Sequence[Checkpoint], live: Tensor, boxes: Sequence[Box]) -> Weight:
    for part in (part for box in boxes for part in box.parts):
        kind = base.tensors[part.stored].dtype
        if (kind in MERGEABLE) != live.is_floating_point():
            raise CheckpointError(
                f"{base.path}, tensor {part.stored}: got {getattr(torch, TORCH_NAMES[kind])}, wanted "
                f"{live.dtype} as in the module"
            )
    read = [
        sum(box.first.elements * SIZES[model.tensors[box.first.stored].dtype] for box in boxes)
        for model in (base, *experts)
    ]
    return Weight(live, tuple(boxes), max(read))
