"""Weights in memory one block at a time: read once from the experts, merged for each candidate, dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.header import TORCH_NAMES
from m2m.errors import CheckpointError
from m2m.ops import weighted_sum_into
from m2m.scoring.streamed.activations import SpillFile
from m2m.scoring.streamed.coroutine import Operation
from m2m.scoring.streamed.hollow import weights_by_name
from m2m.support.arrays import Floats

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


class Merger:
    """Fills weights of a hollow module with candidates' merged weights.

    Args:
        experts: The experts. [N]
        matrix: Merging weights, a row a candidate. [M, N]
        recurring: Weights that are used in several blocks: their merged values wait on disk for the next one,
            so that they too are read from the experts only once.
        spill: Where they wait.
        threads: CPU threads of a merge; None for the kernel's own choice.

    Attributes:
        present: The weights that have memory.
        bytes_read: Bytes read from the experts' shards so far.
    """

    def __init__(
        self,
        experts: Sequence[Checkpoint],
        matrix: Floats,
        recurring: Iterable[Weight],
        spill: SpillFile,
        threads: int | None,
    ) -> None:
        self.present: frozenset[Weight] = frozenset()
        self.bytes_read = 0
        self._experts = experts
        self._matrix = torch.from_numpy(matrix)
        self._recurring = frozenset(recurring)
        self._spill = spill
        self._threads = threads
        self._tensors: dict[Weight, list[Tensor]] = {}
        self._kept: dict[tuple[int, Weight], int] = {}

    def load(self, block: Iterable[Weight], candidates: Iterable[int]) -> None:
        """Make a block the present one: read what its candidates need of it.

        Args:
            block: Its weights.
            candidates: The candidates that will be merged.

        Raises:
            CheckpointError: If a tensor cannot be read, is not finite, or is never averaged and differs.
        """  # noqa: DOC502 - raised by what is called
        self.drop()
        self.present = frozenset(block)
        wanted = list(candidates)
        for weight in self.present:
            weight.allocate()
            if any((m, weight) not in self._kept for m in wanted):
                self._tensors[weight] = self._read(weight)

    def merge(self, candidate: int) -> None:
        """Write a candidate's merged weights into the block; the bits are those of `m2m.weighted_sum`.

        Args:
            candidate: Its row of the matrix.
        """
        for weight in self.present:
            place = self._kept.get((candidate, weight))
            if place is not None:
                self._spill.get(weight.live.untyped_storage(), place)
                continue
            self._merge(weight, candidate)
            if weight in self._recurring:
                self._kept[candidate, weight] = self._spill.put(weight.live.untyped_storage())

    def drop(self) -> None:
        """Take all weights' memory away."""
        for weight in self.present:
            weight.drop()
        self._tensors.clear()
        self.present = frozenset()

    def forget(self) -> None:
        """Drop everything, on disk too, when no forward pass is under way."""
        self.drop()
        for (_, weight), place in self._kept.items():
            self._spill.free(place, weight.nbytes)
        self._kept.clear()

    def _merge(self, weight: Weight, candidate: int) -> None:
        tensors = self._tensors[weight]
        if weight.live.is_floating_point():
            live = weight.live.detach().permute(weight.order)
            weighted_sum_into([live], tensors, self._matrix[candidate][None], threads=self._threads)
        else:
            with torch.no_grad():
                weight.live.copy_(tensors[0])

    def _read(self, weight: Weight) -> list[Tensor]:
        tensors = [self._read_one(expert, weight) for expert in self._experts]
        if weight.live.is_floating_point():
            return [tensor.permute(weight.order).contiguous() for tensor in tensors]
        for expert, tensor in zip(self._experts, tensors, strict=True):
            if not torch.equal(tensor, tensors[0]):
                raise CheckpointError(
                    f"{expert.path}, tensor {weight.name}: {tensor.dtype} is never averaged, but differs "
                    f"from {self._experts[0].path}'s"
                )
        return tensors[:1]

    def _read_one(self, expert: Checkpoint, weight: Weight) -> Tensor:
        tensor = self._stored(expert, weight.name)
        if tensor.is_floating_point() and not _is_finite(tensor):
            index = (~torch.isfinite(tensor)).nonzero()[0].tolist()
            raise CheckpointError(
                f"{expert.path}, tensor {weight.name}: element {index} is {tensor[tuple(index)].item()}"
            )
        for other in weight.stored[1:]:
            if not torch.equal(tensor, self._stored(expert, other)):
                raise CheckpointError(
                    f"{expert.path}: {weight.name} and {other} are tied in the module but differ"
                )
        return tensor

    def _stored(self, expert: Checkpoint, name: str) -> Tensor:
        try:
            tensor = expert.read(name)
        except OSError as error:  # a shard that was there when the headers were read
            raise CheckpointError(
                f"{expert.path}, tensor {name}: cannot read {error.filename}: {error.strerror}"
            ) from error
        self.bytes_read += tensor.nbytes
        return tensor


def _is_finite(tensor: Tensor) -> bool:
    # Without a second tensor of its size, unlike torch.isfinite.
    least, most = torch.aminmax(tensor)
    return bool(torch.isfinite(least)) and bool(torch.isfinite(most))
