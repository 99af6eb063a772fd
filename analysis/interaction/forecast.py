"""What theory says of a run's residuals before any mixture is trained, from base, data and recipe."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.interaction.expansion import Expansion, ResidualExpansion
from analysis.interaction.noise import batch_noise, residual_noise
from analysis.interaction.optimizers import UpdateRule
from analysis.interaction.predicted import SecondOrder, second_order
from analysis.trained_run import TrainedRun
from m2m.mixture import Mixture


@dataclass(frozen=True)
class Forecast:
    """Predictions for one run's recipe.

    Attributes:
        rule: The recipe's optimiser.
        terms: Second-order terms; under Adam in one metric, of the datasets' mean second moment.
        expansion: Residuals with a metric a run.
        noise: Variance σ_k²/B of each dataset's minibatch gradients; None if not estimated. [N, P]
    """

    rule: UpdateRule
    terms: SecondOrder
    expansion: ResidualExpansion
    noise: Tensor | None

    def residual(self, mixture: Mixture) -> Expansion:
        """Predict Δ(λ) by orders; without Adam's metric the first is zero."""
        if self.rule.adaptive:
            return self.expansion.residual(mixture)
        second = self.terms.residual(mixture.weights, self.rule)
        return Expansion(torch.zeros_like(second), second)

    def travel(self, mixture: Mixture) -> Tensor:
        """Predict θ*(λ) − θ₀ to first order. [P]."""
        return self.expansion.run(mixture.shares).first

    def residual_noise(self, mixture: Mixture) -> float | None:
        """Predict the length of what minibatches add to Δ(λ), to first order; None without `noise`."""
        if self.noise is None:
            return None
        weights, gradients = mixture.weights, self.terms.gradients
        if not self.rule.adaptive:
            return residual_noise(self.rule, weights, self.noise)
        metrics = torch.stack([self.rule.metric(g, v) for g, v in zip(gradients, self.noise, strict=True)])
        spread = torch.tensor(weights, dtype=self.noise.dtype) @ self.noise
        mixed = self.rule.metric(self.terms.mean_gradient(weights), spread)
        return residual_noise(self.rule, weights, self.noise, metrics, mixed)


def forecast(run: TrainedRun) -> Forecast:
    """Measure gradients, their noise and their curvature at a run's base.

    Gradients are those of all examples that the run trained on, whatever the study takes: a few examples'
    gradient is mostly their own noise, and Adam's metric would square it. Noise and Hessians are the few's.

    Args:
        run: The run; of its recipe, `outside_theory` says what is not in the forecast.

    Returns:
        The forecast.

    Raises:
        InputError: If the recipe is AdamW with minibatches, and there is one example of a dataset.
    """  # noqa: DOC502 - raised by what is called
    rule, metric, noise = UpdateRule.of(run.recipe), None, _noise(run)
    data = run.setup.original.datasets
    gradients = torch.stack([run.surface.gradient(data[name]) for name in run.datasets])
    if rule.adaptive:
        mean_square = (gradients**2).mean(0)
        metric = rule.metric(mean_square.sqrt(), None if noise is None else noise.mean(0))
    terms = second_order(run.surface, run.datasets, metric, gradients)
    expansion = ResidualExpansion(run.surface, run.datasets, gradients, rule, noise)
    return Forecast(rule, terms, expansion, noise)


def _noise(run: TrainedRun) -> Tensor | None:
    fewest = min(len(examples) for examples in run.setup.datasets.values())
    if fewest < 2 and not UpdateRule.of(run.recipe).adaptive:
        return None  # only the noise of residuals needs it then
    rows = [
        batch_noise(run.surface, examples, run.recipe.batch, len(run.setup.original.datasets[name]))
        for name, examples in run.setup.datasets.items()
    ]
    return torch.stack(rows)
