"""The weights of a hollow module, and which of them an operation needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.header import TORCH_NAMES
from m2m.errors import CheckpointError
from m2m.scoring.streamed.coroutine import Operation
from m2m.scoring.streamed.hollow import weights_by_name

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Weight:
    """One tensor of a module that its checkpoint fills; tied tensors are one.

    Attributes:
        live: The module's tensor; its storage has memory only while it is needed. [*S]
        stored: Names in the checkpoints, at least one; more hold the same values.
    """

    live: Tensor
    stored: tuple[str, ...]

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
    """All weights of a hollow module.

    Args:
        model: The module, from `build_hollow`.
        base: The base model; only its headers are read.

    Raises:
        CheckpointError: If the base model lacks a tensor of the module, has one too many, or one of another
            shape or type.
    """

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
        """Find the weights that an operation reads.

        Args:
            operation: The operation.

        Returns:
            The weights among its operands, and those that its operands are views of.

        Raises:
            CheckpointError: If an operand was filled by no checkpoint, and not when the module was built.
        """
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
