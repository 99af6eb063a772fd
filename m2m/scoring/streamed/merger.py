"""One block's weights at a time: the experts' tensors are read once, merged for each candidate, dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint
from m2m.errors import CheckpointError
from m2m.ops import weighted_sum_into
from m2m.scoring.streamed.spill_file import SpillFile
from m2m.scoring.streamed.weights import Weight
from m2m.support.arrays import Floats


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
