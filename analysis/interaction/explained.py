"""How much of the residual second-order theory explains at growing step sizes, and where it stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pandas as pd

from analysis.curvature.loss_surface import norms
from analysis.curvature.spectrum import spectral_norm
from analysis.interaction.anchored import anchors
from analysis.interaction.compare import WHY_UNDEFINED, Agreement, agreement, quotient
from analysis.interaction.predicted import SecondOrder, StepSizes, residual_of_quadratics, second_order
from analysis.interaction.trained import full_batch, trained_residual
from analysis.results import Reasons
from analysis.trained_run import TrainedRun
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.training import TrainRecipe

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
    "explained_up_to": "at no step size is as much explained",
}


@dataclass(frozen=True)
class ExplainedPoint:
    """One training by full-batch gradient descent, measured beside both predictions.

    Attributes:
        step_size: η‖H‖.
        steps: T.
        learning_rate: η.
        relative: ‖Δ‖ / ‖θ* − θ₀‖; NaN where the trained model did not move.
        rho: ρ₂, what it is for small steps.
        second_order: The measured Δ beside −c C_λ.
        any_horizon: The measured Δ beside that of the losses' quadratic models: every order of ηH.
    """

    step_size: float
    steps: int
    learning_rate: float
    relative: float
    rho: float
    second_order: Agreement
    any_horizon: Agreement


@dataclass(frozen=True)
class ExplainedStudy:
    """Residuals of one mixture over step sizes and horizons.

    Attributes:
        mixture: The mixture.
        sharpness: ‖H‖: the largest ‖H_k‖₂ of its members.
        points: By horizon, then by step size, both ascending.
    """

    mixture: Mixture
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
) -> ExplainedStudy:
    """Train one mixture and its experts by full-batch gradient descent, at every step size and horizon.

    Args:
        run: The run, opened with few examples: every one of them is in every step.
        mixture: The mixture; None: all datasets in equal parts.
        step_sizes: Learning rates times ‖H‖.
        horizons: Numbers of steps, above 1: a single step leaves no residual.

    Returns:
        The study.

    Raises:
        InputError: If the mixture has fewer than two datasets, or a step size or horizon cannot be.
    """
    chosen = run.mixture_or_all(mixture)
    if not step_sizes or min(step_sizes) <= 0:
        raise InputError(f"step sizes must be above 0, got {list(step_sizes)}")
    if not horizons or min(horizons) < 2:
        raise InputError(f"horizons must be at least 2 steps: one leaves no residual; got {list(horizons)}")
    terms = second_order(run.surface, run.datasets)
    data = [run.setup.datasets[name] for name in chosen.members]
    sharpness = max(
        spectral_norm(
            partial(run.surface.products, examples), run.surface.zeros(), tolerance=1e-3, seed=run.seed
        )
        for examples in data
    )
    if not sharpness:
        raise InputError(f"no loss of {chosen.label} is curved at the base: η‖H‖ is 0 whatever the step size")
    points = tuple(
        _point(run, chosen, terms, size, StepSizes.constant(size / sharpness, horizon))
        for horizon in sorted(set(horizons))
        for size in sorted(set(step_sizes))
    )
    return ExplainedStudy(chosen, sharpness, points)


def _point(
    run: TrainedRun, mixture: Mixture, terms: SecondOrder, size: float, steps: StepSizes
) -> ExplainedPoint:
    experts, rate = anchors(run.datasets, share=1.0), steps.rates[0]
    plain = TrainRecipe(steps=len(steps.rates), batch=1, learning_rate=rate, optimizer="sgd")
    used = [row for row, weight in zip(experts, mixture.weights, strict=True) if weight > 0]
    recipe = full_batch(run.setup, [*used, mixture], plain)
    trained = trained_residual(run.surface, run.base, experts, mixture.weights, recipe, run.seed)
    size_of_residual, travel = (norms(x[None]).item() for x in (trained.residual, trained.mixture))
    quadratic = residual_of_quadratics(run.surface, terms, mixture, steps)
    return ExplainedPoint(
        step_size=size,
        steps=recipe.steps,
        learning_rate=rate,
        relative=quotient(size_of_residual, travel),
        rho=terms.rho(mixture.weights, steps),
        second_order=agreement(trained.residual, terms.residual(mixture.weights, steps)),
        any_horizon=agreement(trained.residual, quadratic),
    )


def to_json(study: ExplainedStudy) -> dict[str, Any]:
    """Lay a study out for JSON."""
    horizons = sorted({point.steps for point in study.points})
    return {
        "mixture": study.mixture.label,
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
    return {"": pd.DataFrame(rows)}
