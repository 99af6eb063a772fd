"""Near-duplicates: items most of whose runs stand in one other item, of their dataset or of another one.

An item is a near-duplicate if at least four fifths of its different runs are runs of one other item. Of a run
that many items have, the first 16 of each dataset count as having it, so that the work grows with the data
and not with the square of its repetitions: of a family of copies each is then held against its first ones.
More runs than memory is for are thinned by their numbers, the same in every item, and the four fifths are
estimated from those that are left (Broder 1997, On the resemblance and containment of documents).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from m2m.setups.rows.items import Item
from m2m.setups.rows.overlap import Pair
from m2m.setups.rows.word_runs import Flags, Numbers, OwnRuns, changes
from m2m.support.arrays import Ints

#: Runs that are kept at most: 12 bytes each.
MOST_RUNS = 2**25
#: Items of a dataset that count as having a run.
HOLDERS = 16
#: A share of an item's runs, as a fraction.
_SHARE = (4, 5)
#: Runs are sorted in so many parts, by the highest bits of their numbers.
_PART_BITS = 4
#: Pairs of items that are counted together.
_TOGETHER = 2**22


@dataclass(frozen=True)
class NearDuplicates:
    """A dataset's items that are near-duplicates.

    Attributes:
        dataset: The dataset.
        items: Its items.
        compared: How many of them have a run.
        within: Near-duplicates of another of its items.
        across: Near-duplicates of an item of another dataset, by that one's name.
        example: One of them; None if there is none.
    """

    dataset: str
    items: int
    compared: int
    within: int = 0
    across: Mapping[str, int] = field(default_factory=dict)
    example: Pair | None = None


class RunIndex:
    """The runs of the items of all datasets; `add` them, dataset by dataset, then look for the `duplicates`.

    Args:
        most: Runs that are kept at most.

    Attributes:
        every: One run of so many is kept, a power of two.
    """

    def __init__(self, most: int = MOST_RUNS) -> None:
        self.every = 1
        self._most = most
        self._numbers: list[Numbers] = [np.empty(0, np.uint64)]
        self._items: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        self._places: list[str] = []
        self._names: list[str] = []
        self._starts: list[int] = [0]

    def begin(self, dataset: str, items: Sequence[Item]) -> None:
        """Say whose runs come next."""
        self._names.append(dataset)
        self._places += [item.where for item in items]
        self._starts.append(len(self._places))

    def add(self, own: OwnRuns) -> None:
        """Keep the runs of some of the dataset's items."""
        kept = self._is_kept(own.numbers)
        self._numbers.append(own.numbers[kept])
        self._items.append((own.items[kept] + self._starts[-2]).astype(np.int32))
        while sum(map(len, self._numbers)) > self._most:
            self.every *= 2
            kept_parts = [self._is_kept(numbers) for numbers in self._numbers]
            self._numbers = [part[kept] for part, kept in zip(self._numbers, kept_parts, strict=True)]
            self._items = [part[kept] for part, kept in zip(self._items, kept_parts, strict=True)]

    def _is_kept(self, numbers: Numbers) -> Flags:
        kept: Flags = numbers & np.uint64(self.every - 1) == 0
        return kept

    def duplicates(self) -> list[NearDuplicates]:
        """Count the near-duplicates of every dataset."""
        shared = self._shared()
        near = np.zeros((len(self._places), len(self._names)), bool)
        examples: dict[int, Pair] = {}
        for items, others in shared.pairs(self._datasets):
            near[items, self._datasets(others)] = True
            datasets, firsts = np.unique(self._datasets(items), return_index=True)
            for dataset, at in zip(datasets.tolist(), firsts.tolist(), strict=True):
                examples.setdefault(dataset, Pair(self._places[items[at]], self._places[others[at]]))
        return [
            self._of_dataset(number, near, shared.sizes, examples.get(number))
            for number in range(len(self._names))
        ]

    def _of_dataset(self, number: int, near: Flags, sizes: Ints, example: Pair | None) -> NearDuplicates:
        part = slice(self._starts[number], self._starts[number + 1])
        counts = dict(zip(self._names, near[part].sum(0).tolist(), strict=True))
        name = self._names[number]
        within, across = counts.pop(name), {other: count for other, count in counts.items() if count}
        compared = int((sizes[part] > 0).sum())
        return NearDuplicates(name, len(near[part]), compared, within, across, example)

    def _datasets(self, items: Ints) -> Ints:
        """Return the number of the dataset that each item is of."""
        return np.searchsorted(self._starts, items, side="right") - 1

    def _shared(self) -> _Shared:
        """Find the runs that several items have, part by part so that sorting takes little."""
        numbers, items = np.concatenate(self._numbers), np.concatenate(self._items)
        self._numbers, self._items = [numbers], [items]
        sizes = np.zeros(len(self._places), np.int64)
        runs: list[Ints] = []
        holders: list[Ints] = []
        many = 0
        for part in range(2**_PART_BITS):
            (here,) = np.nonzero(numbers >> np.uint64(64 - _PART_BITS) == part)
            here = here[np.argsort(numbers[here], kind="stable")]  # the items of a run stay in order
            number, item = numbers[here], items[here]
            different = changes(number) | changes(item)
            number, item = number[different], item[different]
            sizes += np.bincount(item, minlength=len(sizes))
            run = np.cumsum(changes(number)) - 1
            several = np.bincount(run)[run] > 1
            runs.append(many + np.cumsum(changes(run[several])) - 1)
            holders.append(item[several])
            many += len(np.unique(run[several]))
        return _Shared(np.concatenate(runs), np.concatenate(holders), sizes)


@dataclass(frozen=True)
class _Shared:
    """Runs that several items have.

    Attributes:
        runs: Each run, numbered from 0, as often as items have it, ascending. [S]
        items: The item that has it, ascending within a run. [S]
        sizes: Different runs of each item, shared or not. [E]
    """

    runs: Ints
    items: Ints
    sizes: Ints

    def pairs(self, datasets: Callable[[Ints], Ints]) -> Iterator[tuple[Ints, Ints]]:
        """Find each item that is a near-duplicate, with each other one that it is a near-duplicate of.

        Args:
            datasets: Gives the datasets that items are of.

        Yields:
            tuple: Some such items, and the other of each, ordered by both.
        """
        part, whole = _SHARE
        first_holders = self._first_holders(datasets)
        others, begins = self.items[first_holders], np.searchsorted(self.runs[first_holders], self.runs)
        counts = np.searchsorted(self.runs[first_holders], self.runs, side="right") - begins
        # Only an item that shares enough runs with anything may share them with one other.
        enough = whole * np.bincount(self.items, minlength=len(self.sizes)) >= part * self.sizes
        (rows,) = np.nonzero(enough[self.items])
        rows = rows[np.argsort(self.items[rows], kind="stable")]
        for some in _portions(self.items[rows], counts[rows]):
            chosen = rows[some]
            each = np.repeat(np.arange(len(chosen)), counts[chosen])
            within = np.arange(len(each)) - np.repeat(
                np.cumsum(counts[chosen]) - counts[chosen], counts[chosen]
            )
            item, other = self.items[chosen][each].astype(np.int64), others[begins[chosen][each] + within]
            key = (item * len(self.sizes) + other)[item != other]
            pair, common = np.unique(key, return_counts=True)
            item, other = np.divmod(pair, len(self.sizes))
            near = whole * common >= part * self.sizes[item]
            yield item[near], other[near]

    def _first_holders(self, datasets: Callable[[Ints], Ints]) -> Flags:
        """Say which items are among the first of their dataset to have a run. [S]."""
        begins = changes(self.runs) | changes(datasets(self.items))
        places = np.arange(len(begins))
        return places - np.maximum.accumulate(np.where(begins, places, 0)) < HOLDERS


def _portions(items: Ints, counts: Ints) -> Iterator[slice]:
    """Cut rows, ordered by item, into portions of few pairs; all rows of an item stay together."""
    starts = np.flatnonzero(changes(items))
    before = np.concatenate([[0], np.cumsum(counts)])
    portion = np.flatnonzero(changes(before[starts] // _TOGETHER))
    bounds = [*starts[portion].tolist(), len(items)]
    yield from (slice(low, high) for low, high in pairwise(bounds))
