"""A block's weights, merged for one candidate after the other while their forward passes go through."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from m2m.scoring.live.box_sums import sum_into_boxes, walking_order
from m2m.scoring.streamed.sources import Sources
from m2m.scoring.streamed.spill_file import SpillFile
from m2m.scoring.streamed.weights import Weight
from m2m.support.arrays import Floats


class Merger:
    """Fills weights of a hollow module with candidates' merged weights, by a matrix [M, N].

    Recurring weights are used in several blocks: their merged values wait on disk for the next one, so that
    they too are read from the experts only once.
    """

    def __init__(
        self,
        sources: Sources,
        matrix: Floats,
        recurring: Iterable[Weight],
        spill: SpillFile,
        threads: int | None,
    ) -> None:
        self.present: frozenset[Weight] = frozenset()
        self._sources = sources
        self._matrix = torch.from_numpy(matrix)
        self._recurring = frozenset(recurring)
        self._spill = spill
        self._threads = threads
        self._tensors: dict[Weight, list[list[Tensor]]] = {}
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
            self._spill.free(place, weight.memory)
        self._kept.clear()

    def _read(self, weight: Weight) -> list[list[Tensor]]:
        # Of each box the experts' tensors, lying as the module's does.
        order = walking_order(weight.live.stride())
        return [
            [tensor.permute(order).contiguous() for tensor in self._sources.read(box, floats=weight.floats)]
            for box in weight.boxes
        ]

    @torch.no_grad()
    def _merge(self, weight: Weight, candidate: int) -> None:
        order = walking_order(weight.live.stride())
        for box, tensors in zip(weight.boxes, self._tensors[weight], strict=True):
            out = box.first.within(weight.live.detach()).permute(order)
            if weight.floats and self._sources.merges(box):
                row = self._matrix[candidate][None]
                sum_into_boxes([out], tensors, row, self._sources.dtype(box), threads=self._threads)
            else:
                out.copy_(tensors[0])
