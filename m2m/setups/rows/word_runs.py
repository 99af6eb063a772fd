"""Word runs: every so many words in a row of a text as one number, which is the same wherever they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m2m.setups.rows.items import Item
from m2m.setups.rows.words import scale_of, words_of
from m2m.support.arrays import Ints

#: Numbers of words and of runs.
Numbers = NDArray[np.uint64]
#: Which are meant.
Flags = NDArray[np.bool_]

#: Words of a run, as GPT-3's data were filtered by (Brown et al. 2020, arXiv 2005.14165, appendix C).
RUN = 13
#: Fewest words that are a run where a text has no longer one: fewer repeat by chance.
FEWEST = 8
#: A run is a template's if more than this share of items has it, and so many at least.
TEMPLATE_SHARE, TEMPLATE_ITEMS = 0.1, 10
#: Items that a template is looked for in. Documents come in the order of their hashes, so these are a sample.
TEMPLATE_SAMPLE = 1000
#: Words that are looked at together.
_TOGETHER = 2**18
#: Words whose numbers are remembered.
_REMEMBERED = 2**20
#: A run's number is a polynomial of its words' in this odd number, modulo 2⁶⁴.
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class OwnRuns:
    """The runs that items are compared by, in order of their places.

    Attributes:
        numbers: Each run's number. [R]
        items: The item it is of. [R]
        in_answers: Whether it is of the item's answer. [R]
        starts: The word of that text it begins with. [R]
        lengths: Its words. [R]
    """

    numbers: Numbers
    items: Ints
    in_answers: Flags
    starts: Ints
    lengths: Ints

    @classmethod
    def of(cls, several: Iterable[OwnRuns]) -> OwnRuns:
        """Put runs one after the other; of nothing there are none."""
        whole = np.empty(0, np.int64)
        parts = [cls(np.empty(0, np.uint64), whole, np.empty(0, np.bool_), whole, whole), *several]
        columns: Any = ([getattr(part, each.name) for part in parts] for each in fields(cls))
        return cls(*map(np.concatenate, columns))


@dataclass(frozen=True)
class Texts:
    """The texts of some items, side by side.

    Attributes:
        words: The words' numbers. [W]
        texts: The text each is of, a question and an answer an item in turn. [W]
        scales: `scale_of` each text. [2·E]
        first: Number of the first item.
    """

    words: Numbers
    texts: Ints
    scales: Ints
    first: int

    @property
    def last(self) -> int:
        """Items up to and with these."""
        return self.first + len(self.scales) // 2

    def runs(self, length: int, of: Flags | None = None) -> tuple[Ints, Numbers]:
        """Find all runs of `length` words within a text.

        Args:
            length: Words of a run, n.
            of: Which texts; None: all. [2·E]

        Returns:
            The word that each begins with, ascending, and its number. [R], [R]
        """
        last = len(self.words) - length + 1
        if last <= 0:
            return np.empty(0, np.int64), np.empty(0, np.uint64)
        within = self.texts[:last] == self.texts[length - 1 :]
        if of is not None:
            within &= of[self.texts[:last]]
        (starts,) = np.nonzero(within)
        return starts, numbers_of_runs(self.words, length)[starts]

    def items_at(self, starts: Ints) -> Ints:
        """Return the items that the words at these places are of. [R]."""
        return self.first + self.texts[starts] // 2

    def own(self, template: NumberSet) -> OwnRuns:
        """Find the runs that items are compared by: of `RUN` words, none of them a template's.

        A text without such a run is compared by its longest stretch of other words, from `FEWEST` on.

        Args:
            template: The template's runs of `FEWEST` words, by number.

        Returns:
            The runs.
        """
        taken = np.concatenate([[0], np.cumsum(self._of_template(template))])
        found: list[tuple[Ints, Numbers, Ints]] = []
        for scale in (1, 2):
            starts, numbers = self.runs(RUN * scale, self.scales == scale)
            free = taken[starts + RUN * scale] == taken[starts]
            found.append((starts[free], numbers[free], np.full(free.sum(), RUN * scale)))
        found += self._stretches(taken, np.concatenate([starts for starts, _, _ in found]))
        starts, numbers, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(starts, kind="stable")
        starts, numbers, lengths = starts[order], numbers[order], lengths[order]
        texts = self.texts[starts]
        begins = np.searchsorted(self.texts, texts)
        return OwnRuns(numbers, self.items_at(starts), texts % 2 == 1, starts - begins, lengths)

    def _of_template(self, template: NumberSet) -> Flags:
        """Say which words are in a run of the template. [W]."""
        steps = np.zeros(len(self.words) + 1, np.int64)
        for scale in (1, 2) if len(template.numbers) else ():
            starts, numbers = self.runs(FEWEST * scale, self.scales == scale)
            starts = starts[template.places(numbers) >= 0]
            steps[starts] += 1
            steps[starts + FEWEST * scale] -= 1
        return np.cumsum(steps)[:-1] > 0

    def _stretches(self, taken: Ints, starts: Ints) -> Iterator[tuple[Ints, Numbers, Ints]]:
        """Find the longest stretch of each text without a run, where it is long enough."""
        without = np.bincount(self.texts[starts], minlength=len(self.scales)) == 0
        free = np.diff(taken) == 0
        begins = np.flatnonzero(changes(self.texts) | changes(free))
        lengths = np.diff([*begins, len(self.words)])
        texts = self.texts[begins]
        wanted = free[begins] & without[texts] & (lengths >= FEWEST * self.scales[texts])
        begins, lengths, texts = begins[wanted], lengths[wanted], texts[wanted]
        order = np.lexsort((begins, -lengths, texts))
        longest = order[changes(texts[order])]
        begins, lengths = begins[longest], lengths[longest]
        for length in np.unique(lengths).tolist():
            chosen = begins[lengths == length]
            yield chosen, numbers_of_runs(self.words, length)[chosen], np.full(len(chosen), length)


def texts_of(items: Sequence[Item]) -> Iterator[Texts]:
    """Lay items side by side, some at a time.

    Args:
        items: The items. [E]

    Yields:
        Texts: Some of them, in order.
    """
    known = _NumbersOfWords()
    first = 0
    parts: list[Numbers] = []
    scales: list[int] = []
    size = 0
    for at, item in enumerate(items, start=1):
        for text in item.texts:
            words = words_of(text)
            parts.append(np.fromiter(map(known.__getitem__, words), np.uint64, len(words)))
            scales.append(scale_of(words) if not text.isascii() else 1)
            size += len(words)
        if size >= _TOGETHER or at == len(items):
            lengths = [len(part) for part in parts]
            yield Texts(
                np.concatenate(parts), np.repeat(np.arange(len(parts)), lengths), np.array(scales), first
            )
            first, parts, scales, size = at, [], [], 0


class _NumbersOfWords(dict[str, int]):
    """A number for every word, from its content alone: what is forgotten comes back the same."""

    def __missing__(self, word: str) -> int:
        if len(self) == _REMEMBERED:
            self.clear()
        content = word.encode(errors="surrogatepass")
        number = self[word] = int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
        return number


def numbers_of_runs(words: Numbers, length: int) -> Numbers:
    """Number every run of `length` words in a row, [W] to [W − length + 1]."""
    many = len(words) - length + 1
    found = np.zeros(many, np.uint64)
    for at in range(length):
        found *= _BASE
        found += words[at : at + many]
    return found


def template_of(items: Sequence[Item]) -> Numbers:
    """Find what many items have in common: the template that they are written by, a licence, a header.

    Args:
        items: The items, in an order that says nothing about them.

    Returns:
        Numbers of the runs of `FEWEST` words that more than a tenth of the items have, and ten at least.
    """
    sample = items[:TEMPLATE_SAMPLE]
    found = [np.empty(0, np.uint64)]
    for texts in texts_of(sample):
        for scale in (1, 2):
            starts, numbers = texts.runs(FEWEST * scale, texts.scales == scale)
            held_by = texts.items_at(starts)
            order = np.lexsort((numbers, held_by))
            found.append(numbers[order][changes(numbers[order]) | changes(held_by[order])])
    runs, holders = np.unique(np.concatenate(found), return_counts=True)
    return runs[(holders > TEMPLATE_SHARE * len(sample)) & (holders >= TEMPLATE_ITEMS)]


class NumberSet:
    """Different numbers in ascending order, and quickly where others are among them.

    Args:
        numbers: The numbers, in any order, perhaps repeated.

    Attributes:
        numbers: Each once, ascending. [K]
    """

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = np.unique(numbers)
        # Most that are asked for are not there, which a look at their lowest bits tells.
        self._mask = np.uint64(2 ** (len(self.numbers) * 16).bit_length() - 1)
        self._low = np.zeros(int(self._mask) + 1, np.bool_)
        self._low[self.numbers & self._mask] = True

    def places(self, numbers: Numbers) -> Ints:
        """Say where numbers stand among these; −1 for those that do not. [R]."""
        found = np.full(len(numbers), -1)
        (perhaps,) = np.nonzero(self._low[numbers & self._mask])
        places = np.searchsorted(self.numbers, numbers[perhaps])
        places[places == len(self.numbers)] = 0
        there = self.numbers[places] == numbers[perhaps]
        found[perhaps[there]] = places[there]
        return found


def changes(values: NDArray[Any]) -> Flags:
    """Say which values differ from the one before; the first one does. [V]."""
    return np.concatenate([[True], values[1:] != values[:-1]])[: len(values)]
