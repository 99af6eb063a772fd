"""Walk forward passes through the network together, block by block.

A block's tensors are read from the experts once, merged for each candidate while its forward passes go
through, then dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint
from m2m.errors import CheckpointError
from m2m.ops import weighted_sum_into
from m2m.scoring.streamed.forward import Activations, Forward
from m2m.scoring.streamed.plan import Shares, Use, cut
from m2m.scoring.streamed.spill_file import SpillFile
from m2m.scoring.streamed.weights import Weight, Weights
from m2m.support.arrays import Floats


class Walk:
    """The blocks, in the network's order, and what carries forward passes through them.

    `check` is called with the weights of operations that were not foreseen, and raises if they are too large.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[Weight]],
        shares: Shares,
        weights: Weights,
        activations: Activations,
        merger: Merger,
        check: Callable[[frozenset[Weight]], None],
    ) -> None:
        self._blocks = [frozenset(block) for block in blocks]
        self._shares = shares
        self._weights, self._activations, self._merger = weights, activations, merger
        self._check = check
        self.loaded = 0  #: blocks brought in so far

    def take(self, forwards: Sequence[Forward]) -> Iterator[tuple[int, Forward]]:
        """Carry forward passes, ordered by candidate, to their end.

        Yields:
            tuple[int, Forward]: How many (block, forward pass) are done, of blocks × forward passes; and the
                forward pass that has just gone as far as it can.
        """
        count = len(forwards)
        for place, block in enumerate(self._blocks):
            for at, forward in enumerate(self._visit(block, forwards), start=1):
                yield place * count + at, forward
            later = self._blocks[place + 1 :]
            while strays := [f for f in forwards if not f.done and not any(f.needs <= b for b in later)]:
                for forward in self._visit(self._unforeseen(strays), strays):
                    yield (place + 1) * count, forward
        self._merger.forget()

    def _unforeseen(self, strays: Sequence[Forward]) -> frozenset[Weight]:
        # Weights that a path needs which the rehearsal didn't take (say, an expert layer that routing chose).
        for stray in strays:
            self._check(stray.needs)
        uses = [Use(stray.needs, 0) for stray in strays]
        return frozenset(cut(uses, {w: w.nbytes for use in uses for w in use.weights}, self._shares.block)[0])

    def _visit(self, block: frozenset[Weight], forwards: Sequence[Forward]) -> Iterator[Forward]:
        ready = [f for f in forwards if not f.done and f.needs <= block]
        if not ready:
            return
        self._merger.load(block, {forward.candidate for forward in ready})
        self.loaded += 1
        merged = None
        for forward in ready:
            with torch.inference_mode():  # not while others have their turn
                if forward.candidate != merged:
                    merged = forward.candidate
                    self._merger.merge(merged)
                self._advance(forward)
            yield forward

    def _advance(self, forward: Forward) -> None:
        forward.advance(self._weights, self._activations, self._merger.present.issuperset)
        self._activations.tidy(forward.pages)
        if self._activations.resident > self._shares.waiting:
            self._activations.evict(forward.pages)


class Merger:
    """Fills weights of a hollow module with candidates' merged weights, by a matrix [M, N].

    Recurring weights are used in several blocks: their merged values wait on disk for the next one, so that
    they too are read from the experts only once.
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
        self.bytes_read = 0  #: from the experts' shards
        self._experts = experts
        self._matrix = torch.from_numpy(matrix)
        self._recurring = frozenset(recurring)
        self._spill = spill
        self._threads = threads
        self._tensors: dict[Weight, list[Tensor]] = {}
        self._kept: dict[tuple[int, Weight], int] = {}

    def load(self, block: Iterable[Weight], candidates: Iterable[int]) -> None:
        """Make a block the present one: read what candidates need of it."""
        self.drop()
        self.present = frozenset(block)
        wanted = list(candidates)
        for weight in self.present:
            weight.allocate()
            if any((m, weight) not in self._kept for m in wanted):
                self._tensors[weight] = self._read(weight)

    def merge(self, candidate: int) -> None:
        """Write a candidate's merged weights into the block; the bits are those of `m2m.weighted_sum`."""
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
