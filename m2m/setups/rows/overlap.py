"""Overlap: how much of what a target judges by a dataset trains on too.

An item shares a run where 13 words in a row of its question, or of its answer, stand anywhere in the dataset
(Brown et al. 2020, arXiv 2005.14165, appendix C); of a shorter text all its words do, from 8 on. What is
shorter yet is compared whole, and counted apart: short answers repeat by chance. Words of a template are no
part of a run. All of it is exact, unless two different runs have one number of 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from m2m.setups.rows.items import Item
from m2m.setups.rows.word_runs import (
    Flags,
    Numbers,
    NumberSet,
    OwnRuns,
    Texts,
    changes,
    template_of,
    texts_of,
)
from m2m.setups.rows.words import words_of
from m2m.support.arrays import Ints

#: Words of a shared run that are shown.
_SHOWN = 8
#: Holder of a run that the dataset does not have.
_NOBODY = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Pair:
    """Two items that have something in common.

    Attributes:
        item: Where one was read.
        other: Where the other one was.
        words: Some words that both have; empty if the two are the same.
    """

    item: str
    other: str
    words: str = ""


@dataclass(frozen=True)
class Overlap:
    """What a dataset has in common with one split of a target.

    Attributes:
        target: The target.
        split: Its split.
        dataset: The dataset.
        items: Items of the split.
        compared: How many of them have a run.
        shared: How many of these have one that the dataset has too, or are items of the dataset.
        in_answers: How many have it in the answer.
        runs: Different runs of each item, summed.
        shared_runs: How many of these the dataset has.
        short: Items without a run that are items of the dataset.
        example: The item that has most runs in common with the dataset; None if nothing is.
    """

    target: str
    split: str
    dataset: str
    items: int
    compared: int
    shared: int
    in_answers: int
    runs: int
    shared_runs: int
    short: int
    example: Pair | None = None


@dataclass(frozen=True)
class Judged:
    """What is judged by: the items of one split of a target.

    Attributes:
        target: The target.
        split: Its split.
        items: The items.
    """

    target: str
    split: str
    items: Sequence[Item]

    @cached_property
    def texts(self) -> list[Texts]:
        """Their texts, which are held against every dataset."""
        return list(texts_of(self.items))

    @cached_property
    def template(self) -> Numbers:
        """What many of the items have in common, see `word_runs.template_of`."""
        return template_of(self.items)


class Search:
    """Looks through one dataset for what targets judge by; `see` its texts, then ask for the `overlaps`.

    Args:
        dataset: The dataset's name.
        items: Its items.
        template: What many of them have in common; so is each split's own, no part of a run.
        splits: What is looked for.
    """

    def __init__(
        self, dataset: str, items: Sequence[Item], template: Numbers, splits: Sequence[Judged]
    ) -> None:
        self._dataset, self._items, self._splits = dataset, items, splits
        templates = [NumberSet(np.concatenate([template, split.template])) for split in splits]
        self._own = [
            OwnRuns.of(texts.own(each) for texts in split.texts)
            for split, each in zip(splits, templates, strict=True)
        ]
        wanted = OwnRuns.of(self._own)
        self._wanted, self._lengths = NumberSet(wanted.numbers), np.unique(wanted.lengths)
        self._holders = np.full(len(self._wanted.numbers), _NOBODY)
        keys = {item.key for split in splits for item in split.items}
        #: Items of the dataset that are one of a target's, by key: the first of each.
        self._same: dict[bytes, int] = {}
        for number, item in enumerate(items):
            if (key := item.key) in keys:
                self._same.setdefault(key, number)

    def see(self, texts: Texts) -> None:
        """Note which runs some of the dataset's texts have."""
        for length in self._lengths:
            starts, numbers = texts.runs(int(length))
            places = self._wanted.places(numbers)
            found = places >= 0
            np.minimum.at(self._holders, places[found], texts.items_at(starts[found]))

    def overlaps(self) -> list[Overlap]:
        """Count what the dataset, all of it seen, has in common with each split."""
        return [self._overlap(split, own) for split, own in zip(self._splits, self._own, strict=True)]

    def _overlap(self, split: Judged, own: OwnRuns) -> Overlap:
        holders = self._holders[self._wanted.places(own.numbers)]
        held = holders != _NOBODY
        compared, sharing = np.unique(own.items), np.unique(own.items[held])
        same = np.array([at for at, item in enumerate(split.items) if item.key in self._same], dtype=np.int64)
        is_compared = np.isin(same, compared)
        return Overlap(
            split.target, split.split, self._dataset,
            items=len(split.items),
            compared=len(compared),
            shared=len(np.union1d(sharing, same[is_compared])),
            in_answers=len(np.unique(own.items[held & own.in_answers])),
            runs=_different(own.items, own.numbers),
            shared_runs=_different(own.items[held], own.numbers[held]),
            short=int((~is_compared).sum()),
            example=self._example(split, own, holders, held, [*same[is_compared], *same[~is_compared]]),
        )  # fmt: skip

    def _example(
        self, split: Judged, own: OwnRuns, holders: Ints, held: Flags, same: Sequence[int]
    ) -> Pair | None:
        if not held.any():
            item = split.items[same[0]] if len(same) else None
            return None if item is None else Pair(item.where, self._items[self._same[item.key]].where)
        most = int(np.argmax(np.bincount(own.items[held])))
        (runs,) = np.nonzero(held & (own.items == most))
        run = runs[0]
        text = split.items[most].texts[int(own.in_answers[run])]
        words = words_of(text)[own.starts[run] : own.starts[run] + own.lengths[run]]
        return Pair(split.items[most].where, self._items[int(holders[run])].where, " ".join(words[:_SHOWN]))


def _different(items: Ints, numbers: Numbers) -> int:
    """Count different numbers of each item, summed."""
    order = np.lexsort((numbers, items))
    return int(np.sum(changes(items[order]) | changes(numbers[order])))
