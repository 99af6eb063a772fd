"""A quadratic seen by which subset is chosen: local moves from many starts, or all 2^U subsets at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2m.searching.polynomials import Quadratic
from m2m.support.arrays import Floats

#: Moves of one descent; no landscape that was tried took a tenth of it.
MOST_MOVES = 1000


@dataclass(frozen=True)
class FreeUnits:
    """What a subset space leaves open: U units (datasets, or groups that go together), each in or out.

    Attributes:
        members: Which datasets a unit brings, 0 or 1. [U, N]
        always: Which datasets are in every subset, 0 or 1. [N]
        fewest: Fewest units chosen.
        most: Most units chosen.
    """

    members: Floats
    always: Floats
    fewest: int
    most: int

    def points(self, chosen: Floats) -> Floats:
        """Mixtures x = s/|S| [M, N] of units in (1) and out (0) [M, U], at least one dataset a row."""
        members = self.always + chosen @ self.members
        return np.asarray(members / members.sum(1, keepdims=True))

    def random(self, count: int, generator: np.random.Generator) -> Floats:
        """Draw `count` rows of units in and out, of sizes uniform on a logarithmic scale: [M, U]."""
        # Small subsets lie far from each other, which tells their members apart; large ones lie close.
        low, high = np.log(max(self.fewest, 0.5)), np.log(self.most + 1)
        sizes = np.exp(generator.uniform(low, high, count)).astype(int).clip(self.fewest, self.most)
        ranks = generator.random((count, len(self.members))).argsort(1).argsort(1)
        return np.asarray(ranks < sizes[:, None], dtype=np.float64)


class SubsetQuadratic:
    """f = c + (γ₀ + γᵀu)/k + (q₀ + κᵀu + uᵀRu)/k² with k datasets chosen, u ∈ {0,1}^U."""

    def __init__(self, quadratic: Quadratic, units: FreeUnits) -> None:
        members, always = units.members, units.always
        self._units = units
        self._constant = quadratic.constant
        self._linear_0, self._linear = always @ quadratic.linear, members @ quadratic.linear
        self._bent_0 = always @ quadratic.pairs @ always
        self._bent = 2 * members @ quadratic.pairs @ always
        self._pairs = members @ quadratic.pairs @ members.T
        self._size_0, self._sizes = always.sum(), members.sum(1)

    def at(self, chosen: Floats) -> Floats:
        """Values [M] of units in and out [M, U], at least one dataset a row."""
        return self._value(*self._sums(chosen))

    def descend(self, chosen: Floats) -> Floats:
        """Go downhill by the best addition or removal, where none helps by a swap: [M, U] to local minima."""
        here = chosen.copy()
        active = np.arange(len(here) if here.size else 0)
        for _ in range(MOST_MOVES):
            if not len(active):
                break
            active = active[self._flip(here, active)]
        return here

    def _flip(self, here: Floats, active: NDArray[np.intp]) -> NDArray[np.bool_]:
        # Moves the active rows one step, in place; says which of them moved.
        rows = here[active]
        size, linear, bent = self._sums(rows)
        now = self._value(size, linear, bent)
        sign = 1 - 2 * rows
        values = self._value(
            size[:, None] + sign * self._sizes,
            linear[:, None] + sign * self._linear,
            bent[:, None] + sign * (self._bent + 2 * rows @ self._pairs) + np.diag(self._pairs),
        )
        count = rows.sum(1)[:, None] + sign
        values[(count < self._units.fewest) | (count > self._units.most)] = np.inf
        best = values.argmin(1)
        moved = _lower(np.take_along_axis(values, best[:, None], 1)[:, 0], now)
        here[active[moved], best[moved]] = sign[moved, best[moved]] > 0
        stuck = np.flatnonzero(~moved)
        if len(stuck):
            moved[stuck] = self._swap(here, active[stuck], now[stuck])
        return moved

    def _swap(self, here: Floats, active: NDArray[np.intp], now: Floats) -> NDArray[np.bool_]:
        rows = here[active]
        size, linear, bent = self._sums(rows)
        slope = self._bent + 2 * rows @ self._pairs
        own = np.diag(self._pairs)
        entering, leaving = slope + own, own - slope
        values = self._value(
            size[:, None, None] + self._sizes - self._sizes[:, None],
            linear[:, None, None] + self._linear - self._linear[:, None],
            bent[:, None, None] + entering[:, None] + leaving[:, :, None] - 2 * self._pairs,
        )
        values[(rows[:, :, None] == 0) | (rows[:, None] == 1)] = np.inf
        flat = values.reshape(len(rows), -1)
        best = flat.argmin(1)
        moved = _lower(np.take_along_axis(flat, best[:, None], 1)[:, 0], now)
        leave, enter = np.divmod(best[moved], rows.shape[1])
        here[active[moved], leave], here[active[moved], enter] = 0, 1
        return moved

    def best_of_all(self) -> Floats:
        """Units in and out [U] of the lowest of all 2^U subsets."""
        # In two halves of the units: the second is taken in Gray order, where the next subset differs by one
        # unit, so that each step costs a few additions an element of the first.
        first = _all_rows(len(self._linear) // 2)
        split = first.shape[1]
        lower = np.hstack([first, np.zeros((len(first), len(self._linear) - split))])
        size, linear, bent = self._sums(lower)
        count, cross = lower.sum(1), 2 * lower @ self._pairs
        upper = np.zeros(len(self._linear))
        best, winner = np.inf, upper
        for step in range(2 ** (len(self._linear) - split)):
            if step:
                unit = split + (step & -step).bit_length() - 1
                sign = 1 - 2 * upper[unit]
                size, linear = size + sign * self._sizes[unit], linear + sign * self._linear[unit]
                own = sign * (self._bent[unit] + 2 * self._pairs[unit] @ upper) + self._pairs[unit, unit]
                bent, count = bent + own + sign * cross[:, unit], count + sign
                upper[unit] += sign
            allowed = (count >= self._units.fewest) & (count <= self._units.most)
            values = self._value(size, linear, bent, allowed)
            lowest = int(values.argmin())
            if values[lowest] < best:
                best, winner = values[lowest], lower[lowest] + upper
        return winner

    def _sums(self, chosen: Floats) -> tuple[Floats, Floats, Floats]:
        # Datasets chosen, and the two numerators. each [M]
        bent = chosen @ self._bent + np.einsum("mu,mu->m", chosen @ self._pairs, chosen)
        return (
            self._size_0 + chosen @ self._sizes,
            self._linear_0 + chosen @ self._linear,
            self._bent_0 + bent,
        )

    def _value(
        self, size: Floats, linear: Floats, bent: Floats, allowed: NDArray[np.bool_] | None = None
    ) -> Floats:
        share = 1 / np.where(size > 0, size, np.nan)
        values = self._constant + linear * share + bent * share**2
        missing = np.isnan(values) if allowed is None else ~allowed | np.isnan(values)
        return np.where(missing, np.inf, values)


def _lower(new: Floats, old: Floats) -> NDArray[np.bool_]:
    # By more than the rounding of some N² additions, so that a descent can't go in circles.
    return new < old - 1e-12 * (1 + np.abs(old))


def _all_rows(units: int) -> Floats:
    numbers = np.arange(2**units)
    return ((numbers[:, None] >> np.arange(units)) & 1).astype(np.float64)
