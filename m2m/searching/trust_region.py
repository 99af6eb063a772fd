"""An exact quadratic of the surrogate, its minimum on the simplex, and the same again closer by."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from m2m.errors import InputError
from m2m.searching.objective import Evaluation, Ledger
from m2m.searching.polynomials import Quadratic, QuadraticPrior
from m2m.searching.scaled_simplex import Continuous, ScaledSimplex
from m2m.searching.simplex import Simplex
from m2m.searching.simplex_optimum import lattice, minimise
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

    With a scale the base model is one component more (`ScaledSimplex.on_a_simplex`), and the same quadratic
    has (N + 1)(N + 2)/2 coefficients: all of ℝᴺ.

    Attributes:
        region: Size of the first region, as a share of the whole simplex; half of that around a prior's
            minimum.
        prior: What the curvature at the base says of the loss: the first centre is its minimum. None: the
            space's prior is.
    """

    spaces = (Simplex, ScaledSimplex)
    ends = False

    region: float = 1.0
    prior: QuadraticPrior | None = None

    def explore(self, ledger: Ledger, space: Continuous, random: Random) -> None:
        """Fit, minimise, evaluate, refresh."""
        corners = len(space.corners)
        if (terms := corners * (corners + 1) // 2) > MOST_TERMS:
            raise InputError(
                f"quadratic fits its coefficients at once, {terms} for {len(space.datasets)} datasets, and "
                f"at most {MOST_TERMS}: take {argument('strategy', 'model')}, which copes with more"
            )
        generator = np.random.default_rng(random.getrandbits(64))
        centre, region, expected = space.nearest(space.prior), self.region, None
        if self.prior is not None:
            region /= 2
            centre = minimise(self.prior.landscape, space, np.vstack([centre, space.corners]))[0]
            expected = float(self.prior.at(centre[None])[0])
        here = ledger(space.mixture(centre), expected)
        while region > SMALLEST_REGION:
            points, losses = _design(ledger, space, centre, region, generator)
            model = _fitted(space, points, losses)
            target = minimise(model, space.shrunken(centre, region), points[losses.argsort()[:4]])[0]
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


def _fitted(space: Continuous, points: Floats, losses: Floats) -> Quadratic:
    # On the coordinates that sum to 1, seen as a function of the points.
    model, n = scheffe(space.on_a_simplex(points), losses), points.shape[1]
    offset, *corners = space.on_a_simplex(np.vstack([np.zeros(n), np.eye(n)]))
    return model.through((np.array(corners) - offset).T, offset)


def _terms(points: Floats) -> Floats:
    first, second = np.triu_indices(points.shape[1], 1)
    return np.hstack([points, points[:, first] * points[:, second]])


def _design(
    ledger: Ledger, space: Continuous, centre: Floats, region: float, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    wanted = lattice(len(space.corners)) @ space.corners
    points = [space.nearest(centre + region * (point - centre)) for point in wanted]
    # Bounds may move corners onto each other; random points make up for those.
    while _rank(space, centre + (np.array(points) - centre) / region) < len(wanted):
        drawn = space.placed(generator.dirichlet(np.ones(len(centre))), generator)
        points.append(space.nearest(centre + region * (drawn - centre)))
        if len(points) > 2 * len(wanted):  # the bounds leave fewer dimensions
            break
    steps = ledger.round(map(space.mixture, points))
    return np.array([step.mixture.weights for step in steps]), np.array([ledger.loss(step) for step in steps])


def _rank(space: Continuous, points: Floats) -> int:
    return int(np.linalg.matrix_rank(_terms(space.on_a_simplex(points))))


def _loss(ledger: Ledger, step: Evaluation) -> float:
    return ledger.loss(step, penalised=True)
