"""How much of the residual second-order theory explains at growing step sizes, and where it stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import pandas as pd
import torch

from analysis.curvature.loss_surface import norms
from analysis.curvature.spectrum import spectral_norm
from analysis.interaction.compare import WHY_UNDEFINED, Agreement, agreement, quotient
from analysis.interaction.expansion import ResidualExpansion
from analysis.interaction.optimizers import UpdateRule
from analysis.interaction.predicted import SecondOrder, residual_of_quadratics, second_order
from analysis.interaction.trained import full_batch, trained_residual
from analysis.results import Reasons
from analysis.trained_run import TrainedRun
from m2m.errors import ConfigError, InputError
from m2m.mixing.anchored import anchors
from m2m.mixture import Mixture
from m2m.training import TrainRecipe

#: What trains: gradient descent, with momentum, or AdamW.
Optimizer = Literal["sgd", "momentum", "adam"]
#: μ where the run itself has no momentum.
MOMENTUM = 0.9
#: Learning rates as shares of 1/‖H‖, and horizons.
STEP_SIZES = tuple(2.0**-i for i in range(6, -2, -1))
HORIZONS = (2, 4, 8)
#: What counts as explained.
ENOUGH = 0.95
NAME = "interaction_steps"
#: Why a number may not be there.
REASONS: Reasons = {
    **WHY_UNDEFINED,
    "share_any_horizon": WHY_UNDEFINED["share"],
    "share_first_order": "without Adam the first order is the same for all runs: it leaves no residual",
    "first_order": "without Adam the first order is the same for all runs: it leaves no residual",
    "explained_up_to": "at no step size is as much explained",
}


@dataclass(frozen=True)
class ExplainedPoint:
    """One full-batch training, measured beside the predictions.

    Attributes:
        step_size: η‖H‖.
        steps: T.
        learning_rate: η.
        relative: ‖Δ‖ / ‖θ* − θ₀‖; NaN where the trained model did not move.
        rho: What it is predicted to be: ρ₂ without a metric, by the first order of Adam with it.
        first_order: The measured Δ beside what differing metrics make of the gradients; None without Adam,
            where the first order is the same for all runs.
        second_order: The measured Δ beside first and second order.
        any_horizon: The measured Δ beside that of the losses' quadratic models: every order of ηH.
    """

    step_size: float
    steps: int
    learning_rate: float
    relative: float
    rho: float
    first_order: Agreement | None
    second_order: Agreement
    any_horizon: Agreement


@dataclass(frozen=True)
class ExplainedStudy:
    """Residuals of one mixture over step sizes and horizons.

    Attributes:
        mixture: The mixture.
        optimizer: What trained.
        sharpness: ‖H‖: the largest ‖H_k‖₂ of its members; under Adam the largest ‖H_kφ_k‖/‖g_k‖ with its
            first step φ_k = g_k/(|g_k| + ε), what share of g_k a step of learning rate 1 would change.
        points: By horizon, then by step size, both ascending.
    """

    mixture: Mixture
    optimizer: Optimizer
    sharpness: float
    points: tuple[ExplainedPoint, ...]

    def reach(self, horizon: int) -> float | None:
        """Return the largest η‖H‖ up to which 95 % or more is explained at this horizon, or None."""
        reached = None
        for point in self.points:
            if point.steps == horizon:
                if (point.second_order.share or 0.0) < ENOUGH:
                    break
                reached = point.step_size
        return reached


def explained_of_run(
    run: TrainedRun,
    mixture: Mixture | None = None,
    step_sizes: Sequence[float] = STEP_SIZES,
    horizons: Sequence[int] = HORIZONS,
    optimizer: Optimizer = "sgd",
) -> ExplainedStudy:
    """Train one mixture and its experts at full batch, at every step size and horizon.

    Args:
        run: The run, opened with few examples: every one of them is in every step.
        mixture: The mixture; None: all datasets in equal parts.
        step_sizes: Learning rates times ‖H‖.
        horizons: Numbers of steps, above 1: a single step of gradient descent leaves no residual.
        optimizer: `sgd`, `momentum` or `adam`, with the run's own μ, betas and weight decay if it has them.

    Returns:
        The study.

    Raises:
        ConfigError: If there is no such optimizer.
        InputError: If the mixture has fewer than two datasets, or a step size or horizon cannot be.
    """
    chosen = run.mixture_or_all(mixture)
    if optimizer not in get_args(Optimizer):
        raise ConfigError(f"the optimizer must be one of {', '.join(get_args(Optimizer))}, got {optimizer!r}")
    if not step_sizes or min(step_sizes) <= 0:
        raise InputError(f"step sizes must be above 0, got {list(step_sizes)}")
    if not horizons or min(horizons) < 2:
        raise InputError(f"horizons must be at least 2 steps: one leaves no residual; got {list(horizons)}")
    terms = second_order(run.surface, run.datasets)
    recipe = _recipe(run.recipe, optimizer)
    sharpness = _sharpness(run, chosen, terms, UpdateRule.of(recipe))
    if not sharpness:
        raise InputError(f"no loss of {chosen.label} is curved at the base: η‖H‖ is 0 whatever the step size")
    points = tuple(
        _point(run, chosen, terms, size, replace(recipe, learning_rate=size / sharpness, steps=horizon))
        for horizon in sorted(set(horizons))
        for size in sorted(set(step_sizes))
    )
    return ExplainedStudy(chosen, optimizer, sharpness, points)


def _recipe(own: TrainRecipe, optimizer: Optimizer) -> TrainRecipe:
    """Take from the run's recipe what its optimiser shares with the one asked for; the rest is plain."""
    plain = TrainRecipe(steps=1, batch=1, learning_rate=1.0, optimizer="sgd")
    if optimizer == "momentum":
        return replace(plain, momentum=own.momentum or MOMENTUM)
    if optimizer == "adam":
        adam = replace(plain, optimizer="adamw")
        if own.optimizer == "adamw":
            adam = replace(adam, betas=own.betas, weight_decay=own.weight_decay)
        return adam
    return plain


def _sharpness(run: TrainedRun, mixture: Mixture, terms: SecondOrder, rule: UpdateRule) -> float:
    gradients = dict(zip(terms.datasets, terms.gradients, strict=True))

    def one(name: str) -> float:
        examples, g = run.setup.datasets[name], gradients[name]
        if rule.adaptive:
            bent = run.surface.products(examples, (g * rule.metric(g))[None])[0]
            return quotient(*norms(torch.stack([bent, g])).tolist())
        multiply = partial(run.surface.products, examples)
        return spectral_norm(multiply, run.surface.zeros(), tolerance=1e-3, seed=run.seed)

    return max(one(name) for name in mixture.members)


def _point(
    run: TrainedRun, mixture: Mixture, terms: SecondOrder, size: float, recipe: TrainRecipe
) -> ExplainedPoint:
    experts, rule = anchors(run.datasets, share=1.0), UpdateRule.of(recipe)
    used = [row for row, weight in zip(experts, mixture.weights, strict=True) if weight > 0]
    whole = full_batch(run.setup, [*used, mixture], recipe)
    trained = trained_residual(run.surface, run.base, experts, mixture.weights, whole, run.seed)
    size_of_residual, travel = (norms(x[None]).item() for x in (trained.residual, trained.mixture))
    first, predicted, rho = None, terms.residual(mixture.weights, rule), terms.rho(mixture.weights, rule)
    if rule.adaptive:
        expansion = ResidualExpansion(run.surface, run.datasets, terms.gradients, rule).residual(mixture)
        first, predicted = agreement(trained.residual, expansion.first), expansion.total
        rho = quotient(first.predicted, travel)
    quadratic = residual_of_quadratics(run.surface, terms, mixture, rule)
    return ExplainedPoint(
        step_size=size,
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        relative=quotient(size_of_residual, travel),
        rho=rho,
        first_order=first,
        second_order=agreement(trained.residual, predicted),
        any_horizon=agreement(trained.residual, quadratic),
    )


def to_json(study: ExplainedStudy) -> dict[str, Any]:
    """Lay a study out for JSON."""
    horizons = sorted({point.steps for point in study.points})
    return {
        "mixture": study.mixture.label,
        "optimizer": study.optimizer,
        "sharpness": study.sharpness,
        "enough": ENOUGH,
        "explained_up_to": {str(horizon): study.reach(horizon) for horizon in horizons},
        "points": [asdict(point) for point in study.points],
    }


def to_tables(study: ExplainedStudy) -> dict[str, pd.DataFrame]:
    """Lay a study out as a table, a row a training."""
    rows = [
        {
            "steps": point.steps,
            "step_size": point.step_size,
            "learning_rate": point.learning_rate,
            "measured": point.second_order.measured,
            "relative": point.relative,
            "rho": point.rho,
            "predicted": point.second_order.predicted,
            "cosine": point.second_order.cosine,
            "share": point.second_order.share,
            "share_any_horizon": point.any_horizon.share,
        }
        for point in study.points
    ]
    frame = pd.DataFrame(rows)
    if study.optimizer == "adam":
        first = [point.first_order for point in study.points]
        frame["share_first_order"] = [None if one is None else one.share for one in first]
    return {"": frame}
