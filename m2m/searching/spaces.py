"""Search spaces: subsets of datasets, the simplex between bounds, a list of mixtures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from fractions import Fraction
from itertools import combinations, compress
from math import comb
from random import Random

import numpy as np

from m2m.errors import MixtureError
from m2m.mixture import SUM_TOLERANCE, Mixture
from m2m.searching.subset_quadratic import FreeUnits
from m2m.support.arrays import Floats

#: A smaller share is none: not one example of a thousand million.
SMALLEST_SHARE = 1e-9
#: A share within rounding of a fraction is that fraction, if its denominator is at most this. A share drawn
#: at random meets one by chance once in 10⁷ times, and then moves by its last bits only.
LARGEST_DENOMINATOR = 10**4


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
        _check_known(included | excluded, datasets)
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

    def larger(self, mixture: Mixture) -> list[Mixture]:
        """List this space's subsets with one member more, in dataset order of the new member."""
        inside = self._inside(mixture)
        if len(inside) >= self.largest:
            return []
        return [self.subset([*inside, unit]) for unit in self._free if unit not in inside]

    def smaller(self, mixture: Mixture) -> list[Mixture]:
        """List this space's subsets with one member less, in dataset order of the dropped member."""
        inside = self._inside(mixture)
        if len(inside) <= self.smallest:
            return []
        free = [unit for unit in inside if unit not in self._forced]
        return [self.subset(unit for unit in free if unit != out) for out in free]

    def swapped(self, mixture: Mixture) -> list[Mixture]:
        """List this space's subsets with one member replaced, in order of the dropped, then the new one."""
        inside = self._inside(mixture)
        free = [unit for unit in inside if unit not in self._forced]
        new = [unit for unit in self._free if unit not in inside]
        return [self.subset([unit for unit in free if unit != out] + [into]) for out in free for into in new]

    def neighbours(self, mixture: Mixture) -> list[Mixture]:
        """List the subsets one move away: a member more, a member less, or one swapped, in that order."""
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
    _check_known(grouped, datasets, " in groups")
    if twice := {name for name in grouped if grouped.count(name) > 1}:
        raise MixtureError(f"datasets {sorted(twice)} are in more than one group, or twice in one")
    units = [group for group in groups if group] + [(name,) for name in datasets if name not in grouped]
    return sorted(units, key=lambda unit: min(map(datasets.index, unit)))


def _check_known(names: Iterable[str], datasets: Sequence[str], where: str = "") -> None:
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


class Simplex:
    """Mixtures with shares between bounds.

    Its points are clean: a share is 0 or at least `SMALLEST_SHARE`, and a fraction such as ¼ or 2/7 where it
    is one but for rounding, so that points that are the same have the same key.

    Args:
        datasets: The N dataset names, in the run's order.
        lower: Least share by dataset; 0 where not given, or below `SMALLEST_SHARE`.
        upper: Largest share by dataset; 1 where not given. See `repetition_caps`.
        prior: Shares to stay close to, by dataset; none may be 0.
        strength: β of the penalty β·KL(λ‖prior) that is added to the loss (as in Olmix), in the loss's unit.

    Attributes:
        datasets: The N dataset names.
        lower: Least shares. [N]
        upper: Largest shares. [N]
        prior: The prior's shares, uniform if none was given. [N]
        strength: β.
        count: Infinite.

    Raises:
        MixtureError: If a name is unknown, no mixture fits the bounds, or the prior is none.
    """

    count = float("inf")

    def __init__(
        self,
        datasets: Sequence[str],
        lower: Mapping[str, float] | None = None,
        upper: Mapping[str, float] | None = None,
        prior: Mapping[str, float] | None = None,
        strength: float = 0.0,
    ) -> None:
        self.datasets = tuple(datasets)
        self.lower = _some(_shares(self.datasets, lower or {}, 0.0, "lower bounds"))
        self.upper = _some(np.minimum(_shares(self.datasets, upper or {}, 1.0, "upper bounds"), 1.0))
        self._check_bounds()
        self.prior = _prior(self.datasets, prior)
        self.strength = strength
        if strength < 0:
            raise MixtureError(f"the prior's strength must not be negative, got {strength}")

    def __contains__(self, mixture: Mixture) -> bool:
        shares = np.array(mixture.weights)
        return mixture.datasets == self.datasets and bool(
            ((shares >= self.lower - SUM_TOLERANCE) & (shares <= self.upper + SUM_TOLERANCE)).all()
        )

    def __iter__(self) -> Iterator[Mixture]:
        raise MixtureError("the simplex has no end of mixtures: name a strategy that samples it")

    def with_lower(self, lower: Floats) -> Simplex:
        """Return the same space with other lower bounds [N]."""
        other = copy(self)
        other.lower = _some(lower)
        other._check_bounds()
        return other

    def sample(self, random: Random) -> Mixture:
        """Draw a mixture: uniform on the simplex, then moved into the bounds."""
        parts = np.array([random.expovariate(1) for _ in self.datasets])
        return self.mixture(self.nearest(parts / parts.sum()))

    def mixture(self, point: Floats) -> Mixture:
        """Name a point [N] of the simplex, cleaned of what rounding left; of others, the nearest."""
        return Mixture(self.datasets, tuple(self._fraction(share) for share in self.nearest(point).tolist()))

    def nearest(self, point: Floats) -> Floats:
        """Project points [..., N] onto the mixtures within the bounds; what is one already keeps its bits."""
        points = np.reshape(point, (-1, len(self.datasets)))
        near = np.clip(points, self.lower, self.upper)
        outside = np.abs(near.sum(-1) - 1) > self._rounding
        if outside.any():
            # Twice: the shift of a far point is as coarse as the point's numbers, that of shares is not.
            near[outside] = self._shifted(self._shifted(points[outside]))
        return self._settled(near).reshape(np.shape(point))

    @property
    def _rounding(self) -> float:
        # N roundings of numbers ≤ 1, and as many of their sums.
        return len(self.datasets) * float(np.finfo(np.float64).eps)

    def _shifted(self, points: Floats) -> Floats:
        # The projection [M, N] by bisection on the shift that all shares have in common.
        low = (self.lower - points).min(-1, keepdims=True)
        high = (self.upper - points).max(-1, keepdims=True)
        for _ in range(100):  # the interval is halved each time: far below float64's resolution
            middle = (low + high) / 2
            below = np.clip(points + middle, self.lower, self.upper).sum(-1, keepdims=True) < 1
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(np.clip(points + high, self.lower, self.upper))

    def _settled(self, near: Floats) -> Floats:
        # Shares so small that they are none go to the share with the most room, if that can take them.
        settled = _some(near)
        gap = 1 - settled.sum(-1)
        room = np.where(gap[:, None] > 0, (self.upper - settled) * (settled > 0), settled - self.lower)
        rows, most = np.arange(len(near)), room.argmax(-1)
        off = np.abs(gap) > self._rounding
        settled[rows, most] += np.where(off, gap, 0.0)
        lost = off & (room[rows, most] < np.abs(gap))
        settled[lost] = near[lost]
        return np.asarray(np.clip(settled, self.lower, self.upper))

    def _fraction(self, share: float) -> float:
        fraction = float(Fraction(share).limit_denominator(LARGEST_DENOMINATOR))
        return fraction if abs(fraction - share) <= self._rounding else share

    def penalty(self, mixture: Mixture) -> float:
        """Return the penalty β·KL(λ‖prior) of one mixture."""
        return float(self.penalties(np.array([mixture.weights]))[0])

    def penalties(self, points: Floats) -> Floats:
        """Return β Σ λ_n log(λ_n / prior_n) [M] of points [M, N], with 0 log 0 = 0: it is added to losses."""
        ratios = np.where(points > 0, points, self.prior) / self.prior
        return np.asarray(self.strength * (points * np.log(ratios)).sum(-1))

    def _check_bounds(self) -> None:
        for name, low, high in zip(self.datasets, self.lower, self.upper, strict=True):
            if low > high:
                raise MixtureError(
                    f"no mixture fits: {name}'s lower bound {low} is above its upper bound {high}"
                )
        if self.lower.sum() > 1 + SUM_TOLERANCE:
            raise MixtureError(
                f"no mixture fits: the lower bounds sum to {self.lower.sum():.6g}, above 1; lower some"
            )
        if self.upper.sum() < 1 - SUM_TOLERANCE:
            raise MixtureError(
                f"no mixture fits: the upper bounds sum to {self.upper.sum():.6g}, below 1; raise some "
                f"(more repetitions), add a dataset, or train on fewer tokens"
            )


def repetition_caps(tokens: Mapping[str, float], total: float, repetitions: float = 1.0) -> dict[str, float]:
    """Cap shares so that no dataset is repeated more than so often.

    Args:
        tokens: Size of each dataset, in tokens.
        total: Tokens that will be trained on.
        repetitions: How often a token may be seen; four are about as good as new (arXiv 2305.16264).

    Returns:
        Largest share by dataset, for `Simplex(upper=...)`.

    Raises:
        MixtureError: If a size, the total or the repetitions are not positive.
    """
    if min([*tokens.values(), total, repetitions]) <= 0:
        raise MixtureError(
            f"tokens, total and repetitions must be positive, got {dict(tokens)}, {total}, {repetitions}"
        )
    return {name: min(1.0, repetitions * count / total) for name, count in tokens.items()}


def _shares(datasets: Sequence[str], given: Mapping[str, float], default: float, what: str) -> Floats:
    _check_known(given, datasets, f" in the {what}")
    shares = np.array([float(given.get(name, default)) for name in datasets])
    if not (np.isfinite(shares) & (shares >= 0)).all():
        raise MixtureError(f"{what} must be finite and not negative, got {dict(given)}")
    return shares


def _some(shares: Floats) -> Floats:
    return np.where(shares < SMALLEST_SHARE, 0.0, shares)


def _prior(datasets: Sequence[str], given: Mapping[str, float] | None) -> Floats:
    prior = _shares(datasets, given or {}, 0.0 if given else 1 / len(datasets), "prior")
    if abs(prior.sum() - 1) > SUM_TOLERANCE or prior.min() <= 0:
        raise MixtureError(
            f"the prior must sum to 1 with a positive share for each of {list(datasets)}, got {given}"
        )
    return prior


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

    def __contains__(self, mixture: Mixture) -> bool:
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
