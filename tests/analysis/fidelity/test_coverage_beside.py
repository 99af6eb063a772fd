"""The intervals of leads and regrets hold their truth, in worlds where that is known.

Each world has hidden qualities of datasets; merged scores see part of what mixtures are worth, trained scores
all of it. The truth of a question is the mean over draws of what it lets vary. Only too few hits are wrong:
ranks move in steps, so that intervals of Spearman's leads are wider than they need be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from analysis.fidelity import Points, beside
from analysis.fidelity.intervals import IntervalEstimate
from analysis.fidelity.leads import COMPARED, DATASETS, THESE
from analysis.fidelity.utilities import MIXED, SEVERAL, SINGLE

pytestmark = pytest.mark.slow
DRAWS = 200
DIMENSIONS = 5
OTHERS = ("best_member", "mean_of_members")

#: What a draw estimates by what it is called, with its interval.
Found = dict[str, tuple[float, float | None, float | None]]


def check(draw: Callable[[np.random.Generator], Found]) -> None:
    """Hold the intervals of many draws against the mean of what they estimate."""
    rng = np.random.default_rng(0)
    found = [draw(rng) for _ in range(DRAWS)]
    for name in dict.fromkeys(name for each in found for name in each):
        drawn = [each[name] for each in found if name in each]  # a draw may have no utility of a kind
        truth = np.mean([value for value, _, _ in drawn])
        known = [(low, high) for _, low, high in drawn if low is not None]
        assert len(known) > 0.8 * DRAWS, name
        hits = sum(low <= truth <= high for low, high in known)
        assert hits >= stats.binom.ppf(1e-6, len(known), 0.95), (name, hits, len(known))


class World:
    """All mixtures of N datasets with hidden qualities, on targets that want other qualities."""

    def __init__(self, datasets: int, rng: np.random.Generator) -> None:
        names = [str(k) for k in range(datasets)]
        self.members = tuple(s for k in range(1, datasets + 1) for s in combinations(names, k))
        self.single = np.array([len(part) == 1 for part in self.members])
        weights = np.array([[(name in part) / len(part) for name in names] for part in self.members])
        self.place = weights @ rng.normal(size=(datasets, DIMENSIONS))

    def merged(self, wants: np.ndarray) -> np.ndarray:
        values: np.ndarray = self.place @ wants - 0.25 * np.sum(self.place**2, axis=1)
        return values

    def unseen(self, shape: np.ndarray) -> np.ndarray:
        """What training adds for mixtures of several datasets, and merging does not see. [n]."""
        values: np.ndarray = np.tanh(self.place @ shape)
        values[self.single] = 0
        return values

    def points(self, name: str, merged: np.ndarray, trained: np.ndarray, **more: object) -> Points:
        labels = tuple("+".join(part) for part in self.members)
        nothing = np.full(len(labels), np.nan)
        given: dict[str, object] = {"again": nothing, "examples": None} | more
        return Points(name, "m", True, labels, self.members, merged, trained, **given)  # type: ignore[arg-type]


def leads(targets: Sequence[Points], question: str) -> Found:
    found = beside(targets)
    overall = found.pooled or found.by[targets[0].target]
    estimates = {
        f"{name} {coefficient}": getattr(overall[name], f"{coefficient}_lead")
        for name in OTHERS
        for coefficient in COMPARED
    }
    return {name: (e.value, *_ends(e, question)) for name, e in estimates.items()}


def _ends(estimate: IntervalEstimate, question: str) -> tuple[float | None, float | None]:
    [interval] = [interval for interval in estimate.intervals if interval.method == question]
    return interval.low, interval.high


@pytest.mark.parametrize(("noise", "of_seed"), [(1.0, 0.1), (2.0, 0.3)])
def test_these_mixtures_with_other_examples_and_seeds(noise: float, of_seed: float) -> None:
    fixed = np.random.default_rng(1)
    world = World(4, fixed)
    wants, shape = fixed.normal(size=(2, 3, DIMENSIONS))

    def draw(rng: np.random.Generator) -> Found:
        n, targets = len(world.members), []
        shared = of_seed * rng.normal(size=(2, n))  # a seed's effect on a model, on all targets alike
        for number in range(3):
            # An example is as hard for models of like mixtures as for each other.
            hard = world.place @ rng.normal(size=(DIMENSIONS, 64)) + rng.normal(size=64)
            own = 0.3 * rng.normal(size=(2, n, 64))
            first, second = shared + 0.5 * of_seed * rng.normal(size=(2, n))
            merged = world.merged(wants[number])[:, None] + noise * (hard + own[0])
            mean = world.merged(wants[number]) + 0.6 * world.unseen(shape[number])
            trained = (mean + first)[:, None] + noise * (hard + own[1])
            trained[world.single] = merged[world.single]
            again = trained.mean(axis=1) - first + second
            more = {"again": again, "examples": ((merged, trained),)}
            targets.append(world.points(f"t{number}", merged.mean(axis=1), trained.mean(axis=1), **more))
        return leads(targets, THESE)

    check(draw)


@pytest.mark.parametrize(("datasets", "targets"), [(6, 3), (7, 1)])
def test_new_datasets(datasets: int, targets: int) -> None:
    wants, shape = np.random.default_rng(7).normal(size=(2, targets, DIMENSIONS))

    def draw(rng: np.random.Generator) -> Found:
        world = World(datasets, rng)
        scores = [world.merged(wants[t]) for t in range(targets)]
        return leads(
            [world.points(f"t{t}", m, m + 0.5 * world.unseen(shape[t])) for t, m in enumerate(scores)],
            DATASETS,
        )

    check(draw)


@pytest.mark.parametrize("of_seed", [0.0, 0.3])
def test_regrets_on_new_targets(of_seed: float) -> None:
    fixed = np.random.default_rng(5)
    world, moves = World(4, fixed), fixed.normal(size=(DIMENSIONS, DIMENSIONS))

    def draw(rng: np.random.Generator) -> Found:
        # What a seed does to a model is seen by every target in its own way.
        shared = of_seed * rng.normal(size=(2, len(world.members), DIMENSIONS))
        targets = []
        for number in range(6):
            wants = rng.normal(size=DIMENSIONS)
            merged = world.merged(wants) + 0.1 * rng.normal(size=len(world.members))
            mean = merged + 0.6 * world.unseen(moves) @ wants
            first, second = (mean + np.where(world.single, 0, seed @ wants) for seed in shared)
            targets.append(world.points(f"t{number}", merged, first, again=second))
        choices = beside(targets).choices
        estimates = {
            f"{kind} {name}": choices[kind].regret[name]
            for kind in (SINGLE, SEVERAL, MIXED)
            for name in ("merged", "best_member")
            if kind in choices
        }
        return {name: (e.value, e.low, e.high) for name, e in estimates.items()}

    check(draw)
