"""What optimisers do with gradients: momentum, Adam, weight decay, as recursions and as closed forms.

Step s of a training run takes x = θ − θ₀ to

    x_{s+1} = x_s − η_s ω (θ₀ + x_s) − η_s D Σ_{j≤s} κ_{sj} (∇L(θ₀ + x_j) + ℓ (θ₀ + x_j)),

with a kernel κ that says how momentum remembers gradients, decoupled decay ω (AdamW), L2 decay ℓ (SGD) and a
metric D. While D is the same for all runs, everything is linear in the gradients. Adam's own D follows them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m2m.training import TrainRecipe

#: What AdamW adds to the root of its second moment: torch's default, which m2m trains with.
EPSILON = 1e-8

#: The gradient at a step's number and place x. [P]
Slope = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class Coefficients:
    """Where T steps end to second order: −pθ₀ − A·Dg + c·DHDg + b·DHθ₀, with D frozen.

    g and H have L2 decay in them: g + ℓθ₀ and H + ℓI. Source: ours, derived in docs/theory.md.

    Attributes:
        gradient: A before each step, and after the last. [T + 1]
        shrinkage: p likewise: what share of θ₀ decoupled decay has taken away. [T + 1]
        curvature: c likewise. [T + 1]
        pull: b likewise. [T + 1]
    """

    gradient: NDArray[np.float64]
    shrinkage: NDArray[np.float64]
    curvature: NDArray[np.float64]
    pull: NDArray[np.float64]


@dataclass(frozen=True)
class UpdateRule:
    """An optimiser's numbers for T steps; the defaults are plain gradient descent.

    Attributes:
        rates: Learning rates η_s. [T]
        momentum: μ of the heavy ball (Polyak, 1964), κ_{sj} = μ^{s−j}, or β₁ of `averaged` momentum.
        averaged: Whether momentum is Adam's, κ_{sj} = (1 − β₁)β₁^{s−j}/(1 − β₁^{s+1}).
        decay: ω, decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101).
        l2: ℓ, weight decay that is added to the gradient.
        second_moment: β₂, where the metric is Adam's own, 1/(√v̂ + ε) (arXiv 1412.6980); None where it is
            given, or the identity.
        epsilon: ε.
    """

    rates: tuple[float, ...]
    momentum: float = 0.0
    averaged: bool = False
    decay: float = 0.0
    l2: float = 0.0
    second_moment: float | None = None
    epsilon: float = EPSILON

    @classmethod
    def constant(cls, rate: float, steps: int) -> UpdateRule:
        """Take T equal steps of plain gradient descent of one rate η."""
        return cls((rate,) * steps)

    @classmethod
    def of(cls, recipe: TrainRecipe) -> UpdateRule:
        """Read what an expert's training does from its recipe, schedule and warm-up included."""
        rates = tuple(recipe.learning_rate_at(step, recipe.steps) for step in range(recipe.steps))
        if recipe.optimizer == "sgd":
            return cls(rates, momentum=recipe.momentum, l2=recipe.weight_decay)
        first, second = recipe.betas
        return cls(rates, first, averaged=True, decay=recipe.weight_decay, second_moment=second)

    @property
    def kernel(self) -> NDArray[np.float64]:
        """κ: row s is what each gradient weighs in step s. [T, T]."""
        steps = np.arange(len(self.rates))
        age = steps[:, None] - steps
        kernel = np.where(age >= 0, self.momentum ** np.maximum(age, 0), 0.0)
        return kernel / kernel.sum(1, keepdims=True) if self.averaged else kernel

    @cached_property
    def coefficients(self) -> Coefficients:
        """Sum the kernel up over the steps, once for the gradient and once for what bends it."""
        table = np.zeros((4, len(self.rates) + 1))
        gradient, shrinkage, curvature, pull = table
        for step, (rate, row) in enumerate(zip(self.rates, self.kernel, strict=True)):
            kept, so_far = 1 - rate * self.decay, slice(step + 1)
            gains = [row.sum(), self.decay, row[so_far] @ gradient[so_far], row[so_far] @ shrinkage[so_far]]
            table[:, step + 1] = kept * table[:, step] + rate * np.array(gains)
        return Coefficients(gradient, shrinkage, curvature, pull)

    @property
    def total(self) -> float:
        """A, how far a constant gradient leads: Σ_s η_s without momentum and decay, ηT for equal steps."""
        return float(self.coefficients.gradient[-1])

    @property
    def coefficient(self) -> float:
        """c, the exact second-order coefficient: η²T(T−1)/2 for plain gradient descent of equal steps."""
        return float(self.coefficients.curvature[-1])

    @property
    def printed_coefficient(self) -> float:
        """The coefficient printed in MergeMix (arXiv 2601.17858, eq. 8): (ηT)²/2, that of gradient flow."""
        return self.total**2 / 2

    @property
    def gradient_weights(self) -> NDArray[np.float64]:
        """Weigh step j's gradient in x_T: K_j = Σ_{s≥j} η_sκ_{sj}Π_{t>s}(1 − η_tω); the sum is A. [T]."""
        rates = np.array(self.rates)
        kept = np.cumprod((1 - rates * self.decay)[::-1])[::-1]  # Π over t ≥ s
        weights: NDArray[np.float64] = (rates * np.append(kept[1:], 1.0)) @ self.kernel
        return weights

    @property
    def adaptive(self) -> bool:
        """Whether the metric is Adam's own, so that runs differ in it."""
        return self.second_moment is not None

    def metric(self, gradient: Tensor, noise: Tensor | None = None) -> Tensor:
        """Give Adam's metric D = 1/(√v̂ + ε), v̂ the gradient's square and what minibatches add to it. [P]."""
        return 1 / ((gradient**2 if noise is None else gradient**2 + noise).sqrt() + self.epsilon)


def follow(
    rule: UpdateRule,
    slope: Slope,
    origin: Tensor,
    *,
    metric: Tensor | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """Take an optimiser's T steps one by one, as torch's SGD and AdamW do: the reference of all closed forms.

    Args:
        rule: The optimiser.
        slope: Gradient of the loss without decay at (step, x).
        origin: θ₀. [P]
        metric: D, the same in every step; None: the identity. Not for a rule that has its own. [P]
        noise: What minibatches add to the gradient's expected square in Adam's second moment. [P]

    Returns:
        x_T = θ_T − θ₀. [P]
    """
    x, velocity, square = (torch.zeros_like(origin) for _ in range(3))
    gain = 1 - rule.momentum if rule.averaged else 1.0
    for step, rate in enumerate(rule.rates):
        gradient = slope(step, x) + rule.l2 * (origin + x)
        velocity = rule.momentum * velocity + gain * gradient
        move = velocity / (1 - rule.momentum ** (step + 1)) if rule.averaged else velocity
        if rule.second_moment is not None:
            seen = gradient**2 if noise is None else gradient**2 + noise
            square = rule.second_moment * square + (1 - rule.second_moment) * seen
            move = move / ((square / (1 - rule.second_moment ** (step + 1))).sqrt() + rule.epsilon)
        elif metric is not None:
            move = metric * move
        x = x - rate * rule.decay * (origin + x) - rate * move
    return x


def outside_theory(recipe: TrainRecipe) -> list[str]:
    """Return how a recipe's experts and mixtures differ from an `UpdateRule`; minibatches are not counted."""
    reasons = {
        f"gradients are clipped at {recipe.clip_norm}": recipe.clip_norm is not None,
        "low-rank factors are trained, not the weights": recipe.adapter is not None,
        f"the model computes in {recipe.dtype}": recipe.dtype != "float32",
        "mixtures train longer than experts (pooled horizon)": recipe.horizon == "pooled",
        "examples are drawn by dataset sizes": recipe.sampling != "balanced",
        "shares count tokens": recipe.count == "tokens",
    }
    return [reason for reason, holds in reasons.items() if holds]
