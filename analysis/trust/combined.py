"""The combined surrogate: merged score, best member and members' mean, weighed by what trainings showed.

In standard deviations of the merged scores m, higher being better, a mixture's trained score is believed to
be m + Φβ + noise. The columns of Φ vanish at single datasets, whose merged model is the trained one:

    best member − m,   members' mean by λ − m,   q = 1 − Σ λ_k².

β ~ N(μ, S) from target to target, learned over complete truths (`combined_prior`); a target's own trainings
update it in closed form. β is then put where no score that is combined counts against a mixture: the weights
of best member and mean are at least 0 and together at most 1. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.trust.combined_prior import COVARIANCE, MEAN, NOISE
from analysis.trust.landscape import Landscape
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Coefficients:
    """β of one target before its trainings, a normal distribution, and the noise around m + Φβ.

    Attributes:
        mean: μ. [3]
        covariance: S. [3, 3]
        noise: Variance of the noise, in squared standard deviations of the merged scores.
    """

    mean: Floats
    covariance: Floats
    noise: float

    def updated(self, features: Floats, gains: Floats) -> tuple[Floats, Floats]:
        """Condition β on trainings.

        Args:
            features: Φ of what was trained. [T, 3]
            gains: What training added to the merged score, in its standard deviations. [T]

        Returns:
            Mean [3] and covariance [3, 3].
        """
        inverse = np.linalg.inv(self.covariance)
        covariance = np.linalg.inv(inverse + features.T @ features / self.noise)
        mean: Floats = covariance @ (inverse @ self.mean + features.T @ gains / self.noise)
        return mean, np.asarray(covariance, dtype=np.float64)


#: What complete truths say of a target of which nothing is known.
PRIOR = Coefficients(np.array(MEAN), np.array(COVARIANCE), NOISE)


def combined(landscape: Landscape, prior: Coefficients = PRIOR) -> Floats:
    """Predict every mixture's trained score from free scores and the trainings that there are.

    Args:
        landscape: The scores; nothing need be trained.
        prior: What is believed of β beforehand.

    Returns:
        The measured score where there is one, else the combined one. [C]
    """
    unit = landscape.unit if landscape.higher_is_better else -landscape.unit
    phi = features(landscape.merged / unit, landscape.weights)
    rows, gains = landscape.trainings
    many = landscape.several[rows]
    mean, covariance = prior.updated(phi[rows[many]], gains[many] / unit)
    predicted = landscape.merged + unit * (phi @ monotone(mean, covariance))
    return np.where(np.isnan(landscape.measured), predicted, landscape.measured)


def features(merged: Floats, weights: Floats) -> Floats:
    """Return Φ of mixtures from their merged scores [C], higher better, and weights [C, N]. [C, 3]."""
    alone = np.argmax(weights * (np.sum(weights > 0, axis=1) == 1)[:, None], axis=0)
    members = merged[alone]
    best = np.max(np.where(weights > 0, members, -np.inf), axis=1)
    return np.stack([best - merged, weights @ members - merged, 1 - np.sum(weights**2, axis=1)], axis=1)


def monotone(mean: Floats, covariance: Floats) -> Floats:
    """Return the likeliest β of N(mean, covariance) whose first two are ≥ 0 and sum to at most 1. [3].

    The third is free, so the first two are put on the triangle's nearest edge in the metric of their own
    covariance, and the third follows by regression.
    """
    two, metric = mean[:2], np.linalg.inv(covariance[:2, :2])
    if min(two[0], two[1], 1 - two.sum()) >= 0:
        return mean
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    edges = np.roll(corners, -1, axis=0) - corners
    along = np.einsum("ei,ij,ej->e", edges, metric, two - corners)
    reach = np.clip(along / np.einsum("ei,ij,ej->e", edges, metric, edges), 0, 1)
    points = corners + reach[:, None] * edges
    off = points - two
    moved = off[np.argmin(np.einsum("ei,ij,ej->e", off, metric, off))]
    return np.append(two + moved, mean[2] + covariance[2, :2] @ metric @ moved)
