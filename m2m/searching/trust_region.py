"""An exact quadratic of the surrogate, its minimum on the simplex, and the same again closer by."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from m2m.errors import InputError
from m2m.searching.objective import Evaluation, Ledger
from m2m.searching.polynomials import Quadratic, QuadraticPrior
from m2m.searching.simplex_optimum import lattice, minimise
from m2m.searching.spaces import Simplex
from m2m.searching.strategy import Strategy
from m2m.support.arguments import argument
from m2m.support.arrays import Floats

#: A step whose gain is above this share of the predicted gain was foreseen well, so the region stays.
GOOD_FORECAST = 0.5
#: A region this small, or a predicted gain this small beside the design's range, ends the search.
SMALLEST_REGION, SMALLEST_GAIN = 1e-3, 1e-6
#: Most coefficients: those of 62 datasets; their rank alone then takes some seconds.
MOST_TERMS = 2000


@dataclass(frozen=True)
class TrustRegion(Strategy):
    """Scheffé quadratic by N(N + 1)/2 merged evaluations, exact minimum, trust-region refresh.

    On the simplex the constant, linear and squared terms of a quadratic in α are not independent, so that the
    N(N + 3)/2 + 1 coefficients of a quadratic over all of ℝᴺ shrink to N(N + 1)/2, and the corners and edge
    middles of a shrunken simplex around the centre determine them exactly (Scheffé, 1958). Its minimum under
    the bounds and the prior's penalty is evaluated next, with the prediction kept beside it
    (`Evaluation.predicted`). The centre moves there if that is better; the region is halved where the gain
    falls short of the forecast.

    Attributes:
        region: Size of the first region, as a share of the whole simplex; half of that around a prior's
            minimum.
        prior: What the curvature at the base says of the loss: the first centre is its minimum. None: the
            space's prior is.
    """

    spaces = (Simplex,)
    ends = False

    region: float = 1.0
    prior: QuadraticPrior | None = None

    def explore(self, ledger: Ledger, space: Simplex, random: Random) -> None:
        """Fit, minimise, evaluate, refresh."""
        n = len(space.datasets)
        if n * (n + 1) // 2 > MOST_TERMS:
            raise InputError(
                f"quadratic fits N(N+1)/2 coefficients at once, {n * (n + 1) // 2} for {n} datasets, and at "
                f"most {MOST_TERMS}: take {argument('strategy', 'model')}, which copes with more"
            )
        generator = np.random.default_rng(random.getrandbits(64))
        centre, region, expected = space.nearest(space.prior), self.region, None
        if self.prior is not None:
            region /= 2
            centre = minimise(self.prior.landscape, space, np.vstack([centre, np.eye(len(centre))]))[0]
            expected = float(self.prior.at(centre[None])[0])
        here = ledger(space.mixture(centre), expected)
        while region > SMALLEST_REGION:
            points, losses = _design(ledger, space, centre, region, generator)
            model = scheffe(points, losses)
            target = minimise(model, _region(space, centre, region), points[losses.argsort()[:4]])[0]
            there = space.mixture(target)
            predicted = float(model.at(target[None])[0])
            promised = _loss(ledger, here) - predicted - space.penalty(there)
            if promised < SMALLEST_GAIN * np.ptp(losses):
                region /= 2
                continue
            step = ledger(there, predicted)
            gained = _loss(ledger, here) - _loss(ledger, step)
            if gained > 0:
                centre, here = target, step
            if gained < GOOD_FORECAST * promised:
                region /= 2


def scheffe(points: Floats, losses: Floats) -> Quadratic:
    """Fit Σ a_i x_i + Σ_{i<j} b_ij x_i x_j to losses [M] at points [M, N]; exact on the {N, 2} lattice."""
    # Least squares: of the quadratics that fit equally well, the one with the smallest coefficients.
    n = points.shape[1]
    coefficients = np.asarray(np.linalg.lstsq(_terms(points), losses, rcond=None)[0], dtype=np.float64)
    pairs = np.zeros((n, n))
    pairs[np.triu_indices(n, 1)] = coefficients[n:] / 2
    return Quadratic(0.0, coefficients[:n], pairs + pairs.T)


def _terms(points: Floats) -> Floats:
    first, second = np.triu_indices(points.shape[1], 1)
    return np.hstack([points, points[:, first] * points[:, second]])


def _design(
    ledger: Ledger, space: Simplex, centre: Floats, region: float, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    n = len(centre)
    points = [space.nearest(centre + region * (corner - centre)) for corner in lattice(n)]
    # Bounds may move corners onto each other; random points make up for those.
    while np.linalg.matrix_rank(_terms(centre + (np.array(points) - centre) / region)) < n * (n + 1) // 2:
        points.append(space.nearest(centre + region * (generator.dirichlet(np.ones(n)) - centre)))
        if len(points) > n * (n + 1):  # the bounds leave less than N - 1 dimensions
            break
    steps = ledger.round(map(space.mixture, points))
    return np.array([step.mixture.weights for step in steps]), np.array([ledger.loss(step) for step in steps])


def _region(space: Simplex, centre: Floats, region: float) -> Simplex:
    # The simplex shrunken around the centre is where no share falls below (1 - region) of the centre's.
    return space.with_lower(np.minimum(np.maximum(space.lower, (1 - region) * centre), space.upper))


def _loss(ledger: Ledger, step: Evaluation) -> float:
    return ledger.loss(step, penalised=True)
