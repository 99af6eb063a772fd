"""Search spaces: the mixtures a strategy may try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import comb
from random import Random

import numpy as np

from m2m.errors import MixtureError
from m2m.mixture import Mixture
from m2m.searching.subset_quadratic import Choices


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
        unknown = (included | excluded) - set(datasets)
        if unknown:
            raise MixtureError(f"unknown datasets {sorted(unknown)}; there are {list(datasets)}")
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
        """Walk over all subsets in the order of their numbers.

        Yields:
            Mixture: The next subset.
        """
        for size in self._sizes:
            yield from self.of_size(size)

    def __contains__(self, mixture: Mixture) -> bool:
        if mixture.datasets != self.datasets or not mixture.is_subset:
            return False
        inside = self._inside(mixture)
        return (
            {name for unit in inside for name in unit} == set(mixture.members)
            and set(self._forced) <= set(inside) <= set(self._forced + self._free)
            and self.smallest <= len(inside) <= self.largest
        )

    @property
    def choices(self) -> Choices:
        """What is left open, as arrays."""

        def rows(units: Iterable[Iterable[str]]) -> list[list[float]]:
            return [[float(name in unit) for name in self.datasets] for unit in units]

        always = rows([[name for unit in self._forced for name in unit]])[0]
        forced = len(self._forced)
        return Choices(
            np.array(rows(self._free)).reshape(-1, len(self.datasets)),
            np.array(always),
            self.smallest - forced,
            self.largest - forced,
        )

    def subset(self, chosen: Iterable[tuple[str, ...]]) -> Mixture:
        """Pool some free units with the forced ones.

        Args:
            chosen: Units that are in it; those forced in are in any case.

        Returns:
            The mixture.
        """
        units = dict.fromkeys((*self._forced, *chosen))
        return Mixture.subset(self.datasets, (name for unit in units for name in unit))

    def of_size(self, size: int) -> Iterator[Mixture]:
        """Walk over the subsets of one size.

        Args:
            size: Number of members, in [smallest, largest].

        Yields:
            Mixture: The next one, in dataset order.
        """
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
        """Draw a subset, each with the same probability.

        Args:
            random: Where the draw comes from.

        Returns:
            The subset.
        """
        return self.at(random.randrange(self.count))

    def larger(self, mixture: Mixture) -> list[Mixture]:
        """List the subsets with one member more.

        Args:
            mixture: A subset of this space.

        Returns:
            Those that are in the space, in dataset order of the new member.
        """
        inside = self._inside(mixture)
        if len(inside) >= self.largest:
            return []
        return [self.subset([*inside, unit]) for unit in self._free if unit not in inside]

    def smaller(self, mixture: Mixture) -> list[Mixture]:
        """List the subsets with one member less.

        Args:
            mixture: A subset of this space.

        Returns:
            Those that are in the space, in dataset order of the dropped member.
        """
        inside = self._inside(mixture)
        if len(inside) <= self.smallest:
            return []
        free = [unit for unit in inside if unit not in self._forced]
        return [self.subset(unit for unit in free if unit != out) for out in free]

    def swapped(self, mixture: Mixture) -> list[Mixture]:
        """List the subsets with one member replaced by another dataset.

        Args:
            mixture: A subset of this space.

        Returns:
            All of them, in dataset order of the dropped, then of the new member.
        """
        inside = self._inside(mixture)
        free = [unit for unit in inside if unit not in self._forced]
        new = [unit for unit in self._free if unit not in inside]
        return [self.subset([unit for unit in free if unit != out] + [into]) for out in free for into in new]

    def neighbours(self, mixture: Mixture) -> list[Mixture]:
        """List the subsets one move away: a member more, a member less, or one swapped.

        Args:
            mixture: A subset of this space.

        Returns:
            All of them, in that order.
        """
        return self.larger(mixture) + self.smaller(mixture) + self.swapped(mixture)

    def _inside(self, mixture: Mixture) -> list[tuple[str, ...]]:
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
    if unknown := set(grouped) - set(datasets):
        raise MixtureError(f"unknown datasets {sorted(unknown)} in groups; there are {list(datasets)}")
    if twice := {name for name in grouped if grouped.count(name) > 1}:
        raise MixtureError(f"datasets {sorted(twice)} are in more than one group, or twice in one")
    units = [group for group in groups if group] + [(name,) for name in datasets if name not in grouped]
    return sorted(units, key=lambda unit: min(map(datasets.index, unit)))


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
