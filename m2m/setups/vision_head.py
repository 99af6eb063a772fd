"""The frozen heads: one linear classifier a label space, fitted once on features of the base trunk.

They play the part of CLIP's zero-shot heads in the merging literature (Ilharco et al., arXiv 2212.04089):
experts of different label spaces share every trained parameter, so that averaging them means something.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from m2m.errors import FitError
from m2m.support.arrays import Floats

#: λ of the penalty ½λ‖W‖² on standardised features, for a mean loss in nat.
PENALTY = 1e-2
#: Largest component of the gradient that counts as zero.
TOLERANCE = 1e-6
#: Iterations allowed at a time; the problem is convex and needs fewer.
ITERATIONS = 1000
#: Times that the iterations may begin anew where the last ones ended, before the head is given up.
ROUNDS = 3


def fit_head(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Fit multinomial logistic regression by L-BFGS in float64, from zero: deterministic.

    Args:
        features: Features of the training images. [E, D]
        labels: Class numbers. [E]
        classes: Number of classes K.

    Returns:
        Weight [K, D] and bias [K] on raw features, float32.
    """
    raw = features.double().numpy()
    mean, scale = raw.mean(0), raw.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    weight, bias = _minimum((raw - mean) / scale, np.eye(classes)[labels.numpy()])
    weight = weight / scale
    return torch.from_numpy(weight).float(), torch.from_numpy(bias - weight @ mean).float()


def _minimum(features: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Find the minimum from features [E, D] and the truth, one-hot [E, K].

    Returns:
        Weight [K, D] and bias [K].

    Raises:
        FitError: If there is none to be found, as with features that are not finite.
    """
    (count, size), classes = features.shape, truth.shape[1]

    def loss_and_gradient(point: Floats) -> tuple[float, Floats]:
        weight, bias = point[classes:].reshape(classes, size), point[:classes]
        log_share = log_softmax(features @ weight.T + bias, axis=1)
        excess = (np.exp(log_share) - truth) / count
        slope = excess.T @ features + PENALTY * weight
        loss = -(truth * log_share).sum() / count + PENALTY / 2 * np.square(weight).sum()
        return float(loss), np.concatenate([excess.sum(0), slope.ravel()])

    options = {"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 0.0}
    point = np.zeros(classes * (size + 1))
    for _ in range(ROUNDS):
        found = minimize(loss_and_gradient, point, jac=True, method="L-BFGS-B", options=options)
        point, steepest = found.x, float(np.abs(found.jac).max())
        if steepest <= TOLERANCE:
            return point[classes:].reshape(classes, size), point[:classes]
    raise FitError(
        f"the head of {classes} classes cannot be fitted to the features of {count} images: its gradient is "
        f"still {steepest:.2g}, wanted at most {TOLERANCE:g}; what every expert shares must not depend on "
        f"where an optimiser stopped"
    )
