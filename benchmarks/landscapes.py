"""Landscapes over N datasets with a known optimum: made by a formula, or grown from a real run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from effects import Bumps, Effects
from numpy.typing import NDArray

from m2m.mixture import Mixture
from m2m.searching import Subsets
from m2m.searching.polynomials import Cubic, Quadratic
from m2m.searching.proposals import SubsetProposals
from m2m.support.arrays import Floats

#: Rounds of descents in the search for the optimum, each from twelve starts.
SEARCHES = 60


@dataclass(frozen=True)
class Grown:
    """f(x) = quadratic(x) + h(Σ x_i z_i): a quadratic, and a smooth function of the merged model's place.

    Attributes:
        quadratic: The quadratic.
        places: z, in the directions that the real datasets span. [N, D]
        beyond: h.
    """

    quadratic: Quadratic
    places: Floats
    beyond: Bumps

    def at(self, points: Floats) -> Floats:
        """Evaluate: [M, N] to [M]."""
        return np.asarray(self.quadratic.at(points) + self.beyond.at(points @ self.places))


@dataclass(frozen=True)
class Problem:
    """A loss over subsets of N datasets, lower is better.

    Attributes:
        truth: The loss without noise.
        optimum: The lowest true loss that many descents find.
        poor: Loss at which the regret is 1.
        noise: Standard deviation of an evaluation's noise, which is the same whenever a subset is asked for.
        seed: Seeds the noise.
    """

    truth: Cubic | Grown
    optimum: float
    poor: float
    noise: float
    seed: int

    @property
    def space(self) -> Subsets:
        """All subsets."""
        return _subsets(len(self.truth.quadratic.linear))

    def loss(self, mixture: Mixture) -> float:
        """Return the true loss of a mixture."""
        return float(self.truth.at(np.array([mixture.weights]))[0])

    def evaluate(self, mixture: Mixture) -> float:
        """Return the loss of a mixture with its noise."""
        generator = np.random.default_rng([self.seed, int(mixture.key, 16)])
        return self.loss(mixture) + self.noise * generator.standard_normal()

    def regret(self, mixture: Mixture) -> float:
        """Return the true shortfall: 0 for the best subset, 1 at the poor loss."""
        return (self.loss(mixture) - self.optimum) / (self.poor - self.optimum)


def lowest(truth: Cubic | Grown) -> float:
    """Return the lowest value over all subsets that many descents find.

    The quadratic part leads to good places; from the best of them descents go on over additions, removals and
    swaps on the landscape itself.
    """
    n = len(truth.quadratic.linear)
    generator = np.random.default_rng(0)
    proposals, none = SubsetProposals(_subsets(n)), np.empty((0, n))
    found = np.vstack([proposals.lowest(truth, none, generator)[:5] for _ in range(SEARCHES)])
    starts = np.unique(found, axis=0)
    starts = starts[truth.at(starts).argsort()[:SEARCHES]]
    return min(_descend(truth, start > 0) for start in starts)


def _descend(truth: Cubic | Grown, chosen: NDArray[np.bool_]) -> float:
    best = np.inf
    while (value := float(truth.at(_points(chosen[None]))[0])) < best:
        best = value
        flips = chosen ^ np.eye(len(chosen), dtype=bool)
        leave, enter = np.nonzero(chosen[:, None] & ~chosen)
        swaps = np.repeat(chosen[None], len(leave), 0)
        swaps[np.arange(len(leave)), leave], swaps[np.arange(len(leave)), enter] = False, True
        moved = np.vstack([flips[flips.any(1)], swaps])
        chosen = moved[truth.at(_points(moved)).argmin()]
    return best


def _points(chosen: NDArray[np.bool_]) -> Floats:
    return np.asarray(chosen / chosen.sum(1, keepdims=True))


def _subsets(n: int) -> Subsets:
    return Subsets([f"d{i}" for i in range(n)])


def aligned(n: int, seed: int) -> Problem:
    """Make a loss that is quadratic in the mean of the chosen task vectors, plus a cubic, plus noise.

    Task vectors live in 2N directions with unequal curvature; families share 30 % of their direction, lengths
    differ by a quarter, and each helps the target more or less, or harms it. The cubic has 3 % of the
    quadratic's spread over random subsets; the noise is 2 % of the base model's loss, which is 1.

    Args:
        n: N.
        seed: Decides everything.

    Returns:
        The problem.
    """
    generator = np.random.default_rng([seed, n])
    width = 2 * n
    curvature = 1 / np.sqrt(np.arange(1, width + 1))
    curvature /= curvature.mean()
    goal = generator.standard_normal(width) / np.sqrt(curvature)
    goal /= np.sqrt(curvature @ goal**2)
    families = generator.standard_normal((max(3, n // 6), width)) / np.sqrt(width)
    own = generator.standard_normal((n, width)) / np.sqrt(width)
    tasks = np.sqrt(0.3) * families[generator.integers(len(families), size=n)] + np.sqrt(0.7) * own
    tasks += generator.normal(0.25, 0.35, (n, 1)) * goal
    tasks *= 1.5 * np.exp(generator.normal(0, 0.25, (n, 1)))
    bent = tasks * curvature
    quadratic = Quadratic(1.0, -2 * bent @ goal, bent @ tasks.T)
    truth = Cubic(quadratic, generator.standard_normal((8, n)), generator.standard_normal(8))
    points = _subsets(n).free_units
    sample = points.points(points.random(4000, generator))
    cubic = truth.at(sample) - quadratic.at(sample)
    share = 0.03 * quadratic.at(sample).std() / cubic.std()
    truth = Cubic(quadratic, truth.anchors, share * truth.weights)
    return Problem(truth, lowest(truth), 1.0, 0.02, seed)


def grown(effects: Effects, n: int, seed: int) -> Problem:
    """Grow the landscape of a real run to N datasets.

    The loss is that of the run at the places of its datasets' children; in a direction of its own it is
    quadratic.

    Args:
        effects: What the run's datasets did.
        n: N.
        seed: Decides everything.

    Returns:
        The problem, as noisy as the run; its regret is in units of the range of the run's trained losses.
    """
    parents, shared, own = children(effects.places, n, np.random.default_rng([seed, n]))
    linear = shared @ effects.slope + effects.rest[parents]
    pairs = shared @ shared.T + own * np.eye(n)
    truth = Grown(Quadratic(effects.level, linear, pairs), shared, effects.beyond)
    optimum = lowest(truth)
    return Problem(truth, optimum, optimum + effects.span, effects.noise, seed)


def children(
    places: Floats, n: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], Floats, float]:
    """Place new datasets by a smoothed bootstrap of real ones.

    Each has one of the real ones as a parent. Of the variance of its place, half is the parent's, a quarter
    is its own in the directions that the real ones span, and a quarter is in one that no other has.
    So the variance is that of the real places (Silverman and Young, 1987): children of different parents are
    as far apart as real datasets on average, and children of one parent half as far, squared.

    Args:
        places: The real datasets' places, centred. [N, D]
        n: How many children.
        generator: Where draws come from.

    Returns:
        Parents [n], places in the real directions [n, D], and a place's squared length in its own direction.
    """
    parents = generator.integers(len(places), size=n)
    spread = (places**2).sum() / (len(places) - 1)  # half the mean squared distance of two real datasets
    # A normal mixture of the real places, which are centred, has their covariance.
    inside = generator.standard_normal((n, len(places))) @ places / np.sqrt(len(places) - 1)
    return parents, places[parents] / np.sqrt(2) + inside / 2, spread / 4
