"""Minibatch noise: what it adds to Adam's second moment, and to a residual."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface
from analysis.interaction.optimizers import UpdateRule
from m2m.errors import InputError
from m2m.setups.protocol import Examples


def batch_noise(surface: LossSurface, examples: Examples, batch: int, population: int) -> Tensor:
    """Estimate the variance of a minibatch gradient at the base: σ²/B · (1 − B/n), element by element.

    σ² is the variance of single examples' gradients; batches are drawn without replacement from n examples. A
    batch of n or more is the full batch, which has no noise.

    Args:
        surface: The losses.
        examples: A sample of the dataset's examples, two or more.
        batch: Examples a step, B.
        population: Examples in the dataset, n.

    Returns:
        E[g_b²] − g². [P]

    Raises:
        InputError: If there is a single example, and batches are not full.
    """
    left_out = 1 - batch / population
    if left_out <= 0:
        return surface.zeros()
    if len(examples) < 2:
        raise InputError("the noise of minibatches needs two or more examples of each dataset, got 1")
    mean, spread = surface.zeros(), surface.zeros()
    for count in range(len(examples)):  # Welford's recurrence: no difference of two large sums
        gradient = surface.gradient(Examples(examples.take(torch.tensor([count]))))
        change = gradient - mean
        mean += change / (count + 1)
        spread += change * (gradient - mean)
    return spread / (len(examples) - 1) / batch * left_out


def residual_noise(
    rule: UpdateRule,
    weights: Sequence[float],
    noise: Tensor,
    metrics: Tensor | None = None,
    mixed: Tensor | None = None,
) -> float:
    """Predict the length of what minibatches add to a residual, to first order.

    √(Σ_jK_j² Σ_i Σ_kν_k(λ_kD² + λ_k²D_k² − 2λ_k²DD_k)): the mixture's noise, the experts', and what they
    share, as each dataset's examples come in one order. With one metric that is Σ_kλ_k(1 − λ_k)ν_kD². Exact
    for equal K_j, while no example has come twice. Source: ours, docs/theory.md.

    Args:
        rule: The optimiser; K_j = `rule.gradient_weights`.
        weights: The mixture λ. [N]
        noise: Variance ν_k of a minibatch gradient of each dataset alone. [N, P]
        metrics: Metric D_k of each expert; None: the identity. [N, P]
        mixed: Metric D of the mixture; None: the identity. [P]

    Returns:
        The root of the expected ‖Δ − E Δ‖².
    """
    total = 0.0
    for k, share in enumerate(weights):
        own = 1.0 if metrics is None else metrics[k]
        common = 1.0 if mixed is None else mixed
        scales = share * common**2 + share**2 * (own**2 - 2 * common * own)
        total += float((noise[k] * scales).double().sum())
    return math.sqrt(float(np.sum(rule.gradient_weights**2)) * max(total, 0.0))
