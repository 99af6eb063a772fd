"""Search spaces with an end of mixtures: subsets of datasets, a list of mixtures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, compress
from math import comb
from random import Random

import numpy as np

from m2m.errors import MixtureError
from m2m.mixture import MergingWeights, Mixture
from m2m.searching.subset_quadratic import FreeUnits
from m2m.support.arrays import Floats


class Subsets:
    """Non-empty subsets of the datasets, numbered from 0: small ones first, then in dataset order.

    Args:
        datasets: The N dataset names, in the run's order.
        smallest: Fewest members.
        largest: Most members; None for all datasets.
        include: Datasets in every subset.
        exclude: Datasets in none.
        groups: Datasets that go together, all or none of a group; one group counts as one member.

    Attributes:
        datasets: The N dataset names.
        smallest: Fewest members that fit, counting the forced ones.
        largest: Most members that fit.

    Raises:
        MixtureError: If a name is unknown or in two groups, or no subset fits.
    """

    def __init__(
        self,
        datasets: Sequence[str],
        smallest: int = 1,
        largest: int | None = None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        groups: Iterable[Sequence[str]] = (),
    ) -> None:
        self.datasets = tuple(datasets)
        units = _units(self.datasets, [tuple(group) for group in groups])
        included, excluded = set(include), set(exclude)
        check_known(included | excluded, datasets)
        self._forced = tuple(unit for unit in units if included & set(unit))
        out = [unit for unit in units if excluded & set(unit)]
        if both := {name for unit in self._forced if unit in out for name in unit}:
            raise MixtureError(f"datasets {sorted(both)} are both forced in and forced out")
        self._free = tuple(unit for unit in units if unit not in self._forced and unit not in out)
        self.smallest = max(smallest, 1, len(self._forced))
        fits = len(self._forced) + len(self._free)
        self.largest = fits if largest is None else min(largest, fits)
        if self.smallest > self.largest:
            raise MixtureError(
                f"no subset fits: smallest {smallest}, largest {largest}, of {len(units)} datasets or groups "
                f"with {sorted(included)} forced in and {sorted(excluded)} forced out; allow more members or "
                f"force fewer"
            )

    @property
    def count(self) -> int:
        """Number of subsets."""
        return sum(self._count_of(size) for size in self._sizes)

    def __iter__(self) -> Iterator[Mixture]:
        """Walk over all subsets in the order of their numbers."""
        for size in self._sizes:
            yield from self.of_size(size)

    def __contains__(self, mixture: MergingWeights) -> bool:
        if mixture.datasets != self.datasets or not (isinstance(mixture, Mixture) and mixture.is_subset):
            return False
        inside = self._inside(mixture)
        return (
            {name for unit in inside for name in unit} == set(mixture.members)
            and set(self._forced) <= set(inside) <= set(self._forced + self._free)
            and self.smallest <= len(inside) <= self.largest
        )

    @property
    def free_units(self) -> FreeUnits:
        """What is left open, as arrays."""

        def rows(units: Iterable[Iterable[str]]) -> list[list[float]]:
            return [[float(name in unit) for name in self.datasets] for unit in units]

        always = rows([[name for unit in self._forced for name in unit]])[0]
        forced = len(self._forced)
        return FreeUnits(
            np.array(rows(self._free)).reshape(-1, len(self.datasets)),
            np.array(always),
            self.smallest - forced,
            self.largest - forced,
        )

    def mixture(self, point: Floats) -> Mixture:
        """Name a point [N] of this space: the subset of its positive shares."""
        return Mixture.subset(self.datasets, compress(self.datasets, point > 0))

    def subset(self, chosen: Iterable[tuple[str, ...]]) -> Mixture:
        """Pool some free units with those that are forced in."""
        units = dict.fromkeys((*self._forced, *chosen))
        return Mixture.subset(self.datasets, (name for unit in units for name in unit))

    def of_size(self, size: int) -> Iterator[Mixture]:
        """Walk over the subsets of one size, in [smallest, largest], in dataset order."""
        for chosen in combinations(self._free, size - len(self._forced)):
            yield self.subset(chosen)

    def at(self, number: int) -> Mixture:
        """Find a subset by its number, without walking over those before it.

        Args:
            number: In [0, count).

        Returns:
            The subset.

        Raises:
            IndexError: If there is no such number.
        """
        if not 0 <= number < self.count:
            raise IndexError(f"subset {number} of {self.count}")
        size = self.smallest
        while number >= self._count_of(size):
            number -= self._count_of(size)
            size += 1
        return self.subset(_combination(self._free, size - len(self._forced), number))

    def sample(self, random: Random) -> Mixture:
        """Draw a subset, each with the same probability."""
        return self.at(random.randrange(self.count))

    def larger(self, mixture: MergingWeights) -> list[Mixture]:
        """List this space's subsets with one member more, in dataset order of the new member."""
        inside = self._inside(mixture)
        if len(inside) >= self.largest:
            return []
        return [self.subset([*inside, unit]) for unit in self._free if unit not in inside]

    def smaller(self, mixture: MergingWeights) -> list[Mixture]:
        """List this space's subsets with one member less, in dataset order of the dropped member."""
        inside = self._inside(mixture)
        if len(inside) <= self.smallest:
            return []
        free = [unit for unit in inside if unit not in self._forced]
        return [self.subset(unit for unit in free if unit != out) for out in free]

    def swapped(self, mixture: MergingWeights) -> list[Mixture]:
        """List this space's subsets with one member replaced, in order of the dropped, then the new one."""
        inside = self._inside(mixture)
        free = [unit for unit in inside if unit not in self._forced]
        new = [unit for unit in self._free if unit not in inside]
        return [self.subset([unit for unit in free if unit != out] + [into]) for out in free for into in new]

    def neighbours(self, mixture: MergingWeights) -> list[Mixture]:
        """List the subsets one move away: a member more, a member less, or one swapped, in that order."""
        return self.larger(mixture) + self.smaller(mixture) + self.swapped(mixture)

    def _inside(self, mixture: MergingWeights) -> list[tuple[str, ...]]:
        members = set(mixture.members)
        return [unit for unit in (*self._forced, *self._free) if members & set(unit)]

    @property
    def _sizes(self) -> range:
        return range(self.smallest, self.largest + 1)

    def _count_of(self, size: int) -> int:
        return comb(len(self._free), size - len(self._forced))


def _units(datasets: Sequence[str], groups: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    # Groups and single datasets, in dataset order of their first members.
    grouped = [name for group in groups for name in group]
    check_known(grouped, datasets, " in groups")
    if twice := {name for name in grouped if grouped.count(name) > 1}:
        raise MixtureError(f"datasets {sorted(twice)} are in more than one group, or twice in one")
    units = [group for group in groups if group] + [(name,) for name in datasets if name not in grouped]
    return sorted(units, key=lambda unit: min(map(datasets.index, unit)))


def check_known(names: Iterable[str], datasets: Sequence[str], where: str = "") -> None:
    """Refuse names that are none of the datasets; `where` they stand is said."""
    if unknown := set(names) - set(datasets):
        raise MixtureError(f"unknown datasets {sorted(unknown)}{where}; there are {list(datasets)}")


def _combination(units: Sequence[tuple[str, ...]], size: int, number: int) -> list[tuple[str, ...]]:
    # the `number`-th element of itertools.combinations (combinatorial number system)
    chosen: list[tuple[str, ...]] = []
    for position, unit in enumerate(units):
        if len(chosen) == size:
            break
        with_it = comb(len(units) - position - 1, size - len(chosen) - 1)
        if number < with_it:
            chosen.append(unit)
        else:
            number -= with_it
    return chosen


class MixtureList:
    """The mixtures of a list.

    Args:
        mixtures: At least one, distinct, all over the same datasets.

    Attributes:
        datasets: The N dataset names.
        count: Number of mixtures.

    Raises:
        MixtureError: If there is none, one is there twice, or they are over different datasets.
    """

    def __init__(self, mixtures: Sequence[Mixture]) -> None:
        if not mixtures:
            raise MixtureError("a search needs at least one mixture to try")
        self._mixtures = {mixture.weights: mixture for mixture in mixtures}
        if len({mixture.datasets for mixture in mixtures}) > 1:
            raise MixtureError("the mixtures are over different datasets, or order them differently")
        if len(self._mixtures) < len(mixtures):
            labels = [mixture.label for mixture in mixtures]
            twice = next((label for label in labels if labels.count(label) > 1), labels[0])
            raise MixtureError(f"the mixture {twice} is there more than once; average or drop its repeats")
        self.datasets = mixtures[0].datasets
        self.count = len(mixtures)

    def __iter__(self) -> Iterator[Mixture]:
        return iter(self._mixtures.values())

    def __contains__(self, mixture: MergingWeights) -> bool:
        return mixture.datasets == self.datasets and mixture.weights in self._mixtures

    def mixture(self, point: Floats) -> Mixture:
        """Name a point [N]: the mixture of the list with these very weights."""
        return self._mixtures[tuple(point.tolist())]

    def at(self, number: int) -> Mixture:
        """Find a mixture by its place in the list, in [0, count)."""
        return list(self._mixtures.values())[number]

    def sample(self, random: Random) -> Mixture:
        """Draw a mixture, each with the same probability."""
        return self.at(random.randrange(self.count))
