"""Landscapes over N datasets with a known optimum, made by a formula or grown from a real run's scores."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m2m.mixture import Mixture
from m2m.searching import Subsets
from m2m.searching.landscape import Landscape
from m2m.searching.posterior import Posterior
from m2m.searching.quadratic import Floats, Quadratic
from m2m.searching.subset_proposals import SubsetProposals

#: Rounds of descents in the search for the optimum, each from twelve starts.
SEARCHES = 60


@dataclass(frozen=True)
class Problem:
    """A loss over subsets of N datasets, lower is better.

    Attributes:
        truth: The loss without noise.
        base: Loss of the base model, which is what no mixture at all gives.
        noise: Standard deviation of an evaluation's noise, which is the same whenever a subset is asked for.
        seed: Seeds the noise.
    """

    truth: Landscape
    base: float
    noise: float
    seed: int

    @property
    def space(self) -> Subsets:
        """All subsets."""
        return Subsets([f"d{i}" for i in range(len(self.truth.quadratic.linear))])

    def loss(self, mixture: Mixture) -> float:
        """Return the true loss of a mixture."""
        return float(self.truth.at(np.array([mixture.weights]))[0])

    def evaluate(self, mixture: Mixture) -> float:
        """Return the loss of a mixture with its noise."""
        generator = np.random.default_rng([self.seed, int(mixture.key, 16)])
        return self.loss(mixture) + self.noise * generator.standard_normal()

    def optimum(self) -> float:
        """Return the lowest true loss that many descents find."""
        n = len(self.truth.quadratic.linear)
        generator = np.random.default_rng(0)
        proposals, none = SubsetProposals(self.space), np.empty((0, n))
        return min(
            float(self.truth.at(proposals.lowest(self.truth, none, generator)[:1])[0])
            for _ in range(SEARCHES)
        )

    def regret(self, mixture: Mixture, optimum: float) -> float:
        """Return the true shortfall: 0 for the best subset, 1 for the base model."""
        return (self.loss(mixture) - optimum) / (self.base - optimum)


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
    truth = Landscape(quadratic, generator.standard_normal((8, n)), generator.standard_normal(8))
    points = Subsets([f"d{i}" for i in range(n)]).choices
    sample = points.points(points.random(4000, generator))
    cubic = truth.at(sample) - quadratic.at(sample)
    share = 0.03 * quadratic.at(sample).std() / cubic.std()
    return Problem(Landscape(quadratic, truth.anchors, share * truth.weights), 1.0, 0.02, seed)


def grown(run: Path, target: str, n: int, seed: int) -> Problem:
    """Grow a real run's landscape to N datasets, each a variant of one of the run's.

    The belief about the run's merged scores, cubic and noise included, is taken at the shares of the N
    datasets' parents; a variant adds a slope and a direction of its own, half as large as what tells
    parents apart.

    Args:
        run: A run folder with every subset merged and scored.
        target: Which target's loss.
        n: N.
        seed: Decides everything.

    Returns:
        The problem; its noise is what the belief found in the real scores.
    """
    generator = np.random.default_rng([seed, n])
    base, points, losses = merged_losses(run, target)
    belief = Posterior(points, losses)
    real = belief.mean()
    parents = np.eye(points.shape[1])[generator.integers(points.shape[1], size=n)]
    corners = real.at(np.eye(points.shape[1]))
    spread = real.quadratic.pairs
    apart = np.abs(np.add.outer(np.diag(spread), np.diag(spread)) - 2 * spread).mean()
    own = generator.standard_normal((n, 2 * n)) * np.sqrt(0.5 * apart / (2 * n))
    quadratic = Quadratic(
        real.quadratic.constant,
        parents @ real.quadratic.linear + 0.5 * corners.std() * generator.standard_normal(n),
        parents @ real.quadratic.pairs @ parents.T + own @ own.T,
    )
    truth = Landscape(quadratic, real.anchors @ parents.T, real.weights)
    return Problem(truth, base, belief.noise, seed)


def merged_losses(run: Path, target: str) -> tuple[float, Floats, Floats]:
    """Read a run's merged scores.

    Args:
        run: The run folder.
        target: The target.

    Returns:
        The base model's loss, the mixtures [M, N] and their losses [M].
    """
    query = "SELECT origin, weights, value FROM scores WHERE task = ? AND split = ? AND metric = 'loss'"
    with sqlite3.connect(run / "scores.sqlite") as table:
        rows = table.execute(query, (target, "validation")).fetchall()
    merged = [(list(json.loads(w).values()), value) for origin, w, value in rows if origin == "merged"]
    [base] = [value for origin, _, value in rows if origin == "base"]
    return base, np.array([w for w, _ in merged]), np.array([value for _, value in merged])
