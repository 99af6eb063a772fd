"""Estimated bounds on a run's own base and data: over step sizes, horizons, and beside its optimizer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from analysis.curvature.loss_surface import LossSurface
from analysis.error_bound.bound import Ingredients, ingredients
from analysis.error_bound.sweep import SweepPoint, slopes, sweep, without_bound
from analysis.interaction.optimizers import UpdateRule
from analysis.results import Reasons
from analysis.trained_run import TrainedRun
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.support.progress import Progress, nobody
from m2m.training import TrainRecipe

#: Learning rates as shares of 1/‖H‖, and the horizon they are tried at.
RATES = tuple(2.0**-i for i in range(6, -2, -1))
STEPS = 4
#: Horizons, and the learning rate they are tried at, as a share of 1/‖H‖.
HORIZONS = (2, 4, 8, 16)
HORIZON_RATE = 2.0**-4
#: Learning rates of the run's own optimizer, as shares of its own.
OWN_RATES = (0.125, 0.25, 0.5, 1.0)
NAME = "error_bound"
_OUTSIDE = (
    "no bound covers the recipe (AdamW, clipping, unequal steps or shares), or it is beyond every number"
)
_NO_RESIDUAL = "a residual is zero"
_EXPONENT = "between points of which one has no residual there is no exponent"
#: Why a number may not be there.
REASONS: Reasons = {
    "exponent_of_rate": _EXPONENT,
    "exponent_of_horizon": _EXPONENT,
    "exponent_of_rate_own_optimizer": _EXPONENT,
    "cosine": _NO_RESIDUAL,
    "share": _NO_RESIDUAL,
    "scale": _NO_RESIDUAL,
    "relative": "the trained model did not move",
    "leading": _OUTSIDE,
    "spread": _OUTSIDE,
    "estimated_bound": _OUTSIDE,
    "estimated_loss_bound": _OUTSIDE,
    "holds": _OUTSIDE,
    "informative": _OUTSIDE,
}


@dataclass(frozen=True)
class BoundStudy:
    """Residuals and their estimated bounds in three sweeps of one mixture.

    Attributes:
        ingredients: What the bounds are made of.
        sharpness: Largest ‖H_k‖₂ of its members, the unit of 1/η.
        by_rate: Full-batch gradient descent of `STEPS` steps at growing η.
        by_horizon: The same at one η and growing T.
        own: The run's own optimizer, full batch, `STEPS` steps; no bound under AdamW.
        without_bound: Why the run's own optimizer has no bound; empty if it has.
        target: Name of the target whose loss is compared.
    """

    ingredients: Ingredients
    sharpness: float
    by_rate: tuple[SweepPoint, ...]
    by_horizon: tuple[SweepPoint, ...]
    own: tuple[SweepPoint, ...]
    without_bound: tuple[str, ...]
    target: str

    @property
    def rate_slopes(self) -> list[float]:
        """Exponent of η in ‖Δ‖ between neighbouring points: 2 in theory, for small ηT."""
        return slopes(
            [point.recipe.learning_rate for point in self.by_rate],
            [point.agreement.measured for point in self.by_rate],
        )

    @property
    def horizon_slopes(self) -> list[float]:
        """Exponent of T(T − 1) in ‖Δ‖ between neighbouring points: 1 in theory, for small ηT."""
        return slopes(
            [point.recipe.steps * (point.recipe.steps - 1) for point in self.by_horizon],
            [point.agreement.measured for point in self.by_horizon],
        )

    @property
    def own_slopes(self) -> list[float]:
        """Exponent of η in ‖Δ‖ for the run's own optimizer."""
        return slopes(
            [point.recipe.learning_rate for point in self.own],
            [point.agreement.measured for point in self.own],
        )


def of_run(
    run: TrainedRun,
    mixture: Mixture | None = None,
    target: str | None = None,
    progress: Progress | None = None,
) -> BoundStudy:
    """Sweep one mixture of a run over step sizes, horizons and the run's own optimizer.

    Args:
        run: The run, opened with few examples: every one of them is in every step.
        mixture: The mixture; None: all datasets in equal parts.
        target: Target whose loss is compared; None: the one the run chose for.
        progress: Called with (done, total, what).

    Returns:
        The study.

    Raises:
        InputError: If the mixture has fewer than two datasets, or no loss is curved.
    """
    chosen = run.mixture_or_all(mixture)
    name, found_target = run.target_named(target)
    tell = progress or nobody
    tell(0, 1, "gradients and curvature at the base")
    found = ingredients(run.surface, chosen, seed=run.seed)
    tell(1, 1, "gradients and curvature at the base")
    sharpness = max(max(abs(shape.lowest), abs(shape.highest)) for shape in found.experts)
    if not sharpness:
        raise InputError(f"no loss of {chosen.label} is curved at the base: steps have no size to sweep")
    plain = TrainRecipe(steps=STEPS, batch=1, learning_rate=1 / sharpness, optimizer="sgd")
    recipes = [replace(plain, learning_rate=share / sharpness) for share in RATES]
    recipes += [replace(plain, learning_rate=HORIZON_RATE / sharpness, steps=t) for t in HORIZONS]
    points = sweep(run.surface, run.base, found, recipes, found_target.validation, run.seed, tell)
    own = replace(run.recipe, steps=STEPS, warmup=0)
    by_own = [replace(own, learning_rate=share * own.learning_rate) for share in OWN_RATES]
    l2 = UpdateRule.of(own).l2
    surface = LossSurface(run.setup, run.base, l2) if l2 else run.surface
    shaped = ingredients(surface, chosen, seed=run.seed) if l2 else found
    return BoundStudy(
        ingredients=found,
        sharpness=sharpness,
        by_rate=tuple(points[: len(RATES)]),
        by_horizon=tuple(points[len(RATES) :]),
        own=tuple(sweep(run.surface, run.base, shaped, by_own, found_target.validation, run.seed, tell)),
        without_bound=tuple(without_bound(own)),
        target=name,
    )


def to_json(study: BoundStudy) -> dict[str, Any]:
    """Lay a study out for JSON: ingredients, exponents, and how many estimated bounds hold and inform."""
    found = study.ingredients
    bounded = [point for point in (*study.by_rate, *study.by_horizon, *study.own) if point.bound is not None]
    return {
        "mixture": found.mixture.label,
        "target": study.target,
        "sharpness": study.sharpness,
        "spread": found.spread,
        "experts": {
            name: asdict(shape) for name, shape in zip(found.terms.datasets, found.experts, strict=True)
        },
        "pooled": asdict(found.pooled),
        "exponent_of_rate": study.rate_slopes,
        "exponent_of_horizon": study.horizon_slopes,
        "exponent_of_rate_own_optimizer": study.own_slopes,
        "own_optimizer_without_bound": study.without_bound,
        "estimated_bounds": len(bounded),
        "estimated_bounds_that_hold": sum(bool(point.holds) for point in bounded),
        "estimated_bounds_that_inform": sum(bool(point.informative) for point in bounded),
    }


def to_tables(study: BoundStudy) -> dict[str, pd.DataFrame]:
    """Lay a study out as a table, a row a trained recipe."""
    sweeps = {"rate": study.by_rate, "horizon": study.by_horizon, "own": study.own}
    rows = [_row(name, point, study.sharpness) for name, points in sweeps.items() for point in points]
    return {"": pd.DataFrame(rows)}


def _row(sweep: str, point: SweepPoint, sharpness: float) -> dict[str, Any]:
    limit = point.bound
    return {
        "sweep": sweep,
        "optimizer": point.recipe.optimizer,
        "learning_rate": point.recipe.learning_rate,
        "steps": point.recipe.steps,
        "sharp_steps": point.recipe.learning_rate * sharpness,
        **asdict(point.agreement),
        "travel": point.travel,
        "relative": point.relative,
        "leading": None if limit is None else limit.leading,
        "spread": None if limit is None else limit.spread,
        "estimated_bound": None if limit is None else limit.total,
        "loss_error": point.loss_error,
        "estimated_loss_bound": point.loss_bound,
        "holds": point.holds,
        "informative": point.informative,
    }
