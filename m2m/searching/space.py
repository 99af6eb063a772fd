"""Search spaces: the mixtures a strategy may try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import comb
from random import Random

from m2m.errors import MixtureError
from m2m.mixture import Mixture


class Subsets:
    """Non-empty subsets of the datasets, numbered from 0: small ones first, then in dataset order.

    Args:
        datasets: The N dataset names, in the run's order.
        smallest: Fewest members.
        largest: Most members; None for all datasets.
        include: Datasets in every subset.
        exclude: Datasets in none.

    Attributes:
        datasets: The N dataset names.
        smallest: Fewest members that fit, counting the forced ones.
        largest: Most members that fit.

    Raises:
        MixtureError: If a name is unknown, or no subset fits.
    """

    def __init__(
        self,
        datasets: Sequence[str],
        smallest: int = 1,
        largest: int | None = None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
    ) -> None:
        self.datasets = tuple(datasets)
        forced_in, forced_out = set(include), set(exclude)
        unknown = (forced_in | forced_out) - set(datasets)
        if unknown:
            raise MixtureError(f"unknown datasets {sorted(unknown)}; there are {list(datasets)}")
        if both := forced_in & forced_out:
            raise MixtureError(f"datasets {sorted(both)} are both forced in and forced out")
        self._forced = forced_in
        self._free = tuple(name for name in datasets if name not in forced_in | forced_out)
        self.smallest = max(smallest, 1, len(forced_in))
        fits = len(forced_in) + len(self._free)
        self.largest = fits if largest is None else min(largest, fits)
        if self.smallest > self.largest:
            raise MixtureError(
                f"no subset fits: smallest {smallest}, largest {largest}, of {len(datasets)} datasets "
                f"with {sorted(forced_in)} forced in and {sorted(forced_out)} forced out"
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
        members = set(mixture.members)
        return (
            mixture.datasets == self.datasets
            and mixture.is_subset
            and self._forced <= members <= self._forced | set(self._free)
            and self.smallest <= len(members) <= self.largest
        )

    def subset(self, chosen: Iterable[str]) -> Mixture:
        """Pool some free datasets with the forced ones.

        Args:
            chosen: Names beside those forced in.

        Returns:
            The mixture.
        """
        return Mixture.subset(self.datasets, self._forced.union(chosen))

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
        members = set(mixture.members)
        grown = (self.subset(members | {name}) for name in self._free if name not in members)
        return [candidate for candidate in grown if candidate in self]

    def smaller(self, mixture: Mixture) -> list[Mixture]:
        """List the subsets with one member less.

        Args:
            mixture: A subset of this space.

        Returns:
            Those that are in the space, in dataset order of the dropped member.
        """
        free = [name for name in mixture.members if name not in self._forced]
        if len(mixture.members) <= self.smallest:
            return []
        return [self.subset(set(free) - {name}) for name in free]

    def swapped(self, mixture: Mixture) -> list[Mixture]:
        """List the subsets with one member replaced by another dataset.

        Args:
            mixture: A subset of this space.

        Returns:
            All of them, in dataset order of the dropped, then of the new member.
        """
        free = [name for name in mixture.members if name not in self._forced]
        new = [name for name in self._free if name not in mixture.members]
        return [self.subset(set(free) - {out} | {name}) for out in free for name in new]

    @property
    def _sizes(self) -> range:
        return range(self.smallest, self.largest + 1)

    def _count_of(self, size: int) -> int:
        return comb(len(self._free), size - len(self._forced))


def _combination(names: Sequence[str], size: int, number: int) -> list[str]:
    # the `number`-th element of itertools.combinations (combinatorial number system)
    chosen: list[str] = []
    for position, name in enumerate(names):
        if len(chosen) == size:
            break
        with_it = comb(len(names) - position - 1, size - len(chosen) - 1)
        if number < with_it:
            chosen.append(name)
        else:
            number -= with_it
    return chosen
