"""A hollow module: its weights have names, shapes and strides, but memory only while they are needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.header import TORCH_NAMES
from m2m.errors import CheckpointError
from m2m.scoring.streamed.coroutine import Operation

_SHOWN = 5


def build_hollow(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module in evaluation mode whose parameters and persistent buffers are there without memory."""
    # Each parameter is moved to the meta device as it is made, so that at most one has memory at a time;
    # other buffers (rotary frequencies, masks) are computed as usual. In the end every weight is a CPU tensor
    # with an empty storage, tied ones still one object.
    model = build_on_meta(build)
    kept = {id(tensor) for tensor in weights_by_name(model).values()}
    for name, buffer in model.named_buffers():
        if buffer.is_meta and id(buffer) not in kept:
            raise CheckpointError(
                f"buffer {name} is in no checkpoint, and was computed from weights when built"
            )
    _empty_storages(model, kept)
    return model.eval()


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


@dataclass(frozen=True, eq=False)
class Weight:
    """One tensor of a module that its checkpoint fills; tied tensors are one."""

    live: Tensor  #: the module's; its storage has memory only while it is needed
    stored: tuple[str, ...]  #: names in the checkpoints, at least one; more hold the same values

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.stored[0]

    @property
    def nbytes(self) -> int:
        """Its length in bytes."""
        return self.live.numel() * self.live.element_size()

    @property
    def order(self) -> list[int]:
        """Its axes in the order in which they lie in memory (channels-last weights are permuted)."""
        return sorted(range(self.live.dim()), key=self.live.stride, reverse=True)

    def allocate(self) -> None:
        """Give it memory, without defined content."""
        last = sum((n - 1) * step for n, step in zip(self.live.shape, self.live.stride(), strict=True))
        self.live.untyped_storage().resize_((last + 1) * self.live.element_size())

    def drop(self) -> None:
        """Take its memory away."""
        self.live.untyped_storage().resize_(0)


class Weights:
    """All weights of a hollow module; a CheckpointError where the base has others, by name, shape or type."""

    def __init__(self, model: nn.Module, base: Checkpoint) -> None:
        named = weights_by_name(model)
        stored_as = {name: name for name in base.tensors} | base.tied
        _check_names(base, named, stored_as)
        self.all = [
            Weight(live, tuple(dict.fromkeys(stored_as[name] for name in names if name in stored_as)))
            for live, names in _tied(named)
            if live.numel()
        ]
        for weight in self.all:
            _check_kind(base, weight)
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


def _check_names(base: Checkpoint, named: Mapping[str, Tensor], stored_as: Mapping[str, str]) -> None:
    missing = [names[0] for _, names in _tied(named) if not any(name in stored_as for name in names)]
    unknown = sorted(set(stored_as) - set(named))
    if missing or unknown:
        raise CheckpointError(
            f"{base.path} does not fit the module: missing {missing[:_SHOWN]}, unknown {unknown[:_SHOWN]}"
        )


def _check_kind(base: Checkpoint, weight: Weight) -> None:
    for name in weight.stored:
        info = base.tensors[name]
        dtype = getattr(torch, TORCH_NAMES[info.dtype])
        if info.shape != tuple(weight.live.shape) or dtype != weight.live.dtype:
            raise CheckpointError(
                f"{base.path}, tensor {name}: got {list(info.shape)} {dtype}, "
                f"wanted {list(weight.live.shape)} {weight.live.dtype} as in the module"
            )
