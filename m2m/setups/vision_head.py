"""The frozen heads: one linear classifier a label space, fitted once on features of the base trunk.

They play the part of CLIP's zero-shot heads in the merging literature (Ilharco et al., arXiv 2212.04089):
experts of different label spaces share every trained parameter, so that averaging them means something.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

#: λ of the penalty ½λ‖W‖² on standardised features, for a mean loss in nat.
PENALTY = 1e-2
#: Newton-like iterations allowed; the strictly convex problem needs fewer.
ITERATIONS = 500


def fit_head(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Fit multinomial logistic regression by L-BFGS in float64, from zero: deterministic.

    Args:
        features: Features of the training images. [E, D]
        labels: Class numbers. [E]
        classes: Number of classes K.

    Returns:
        Weight [K, D] and bias [K] on raw features, float32.
    """
    raw = features.double()
    mean, scale = raw.mean(0), raw.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    weight = torch.zeros(classes, raw.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    _minimise((raw - mean) / scale, labels, weight, bias)
    with torch.no_grad():
        unscaled = weight / scale
        return unscaled.float(), (bias - unscaled @ mean).float()


def _minimise(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> None:
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=ITERATIONS,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(features @ weight.T + bias, labels) + PENALTY / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(objective)  # type: ignore[no-untyped-call]
