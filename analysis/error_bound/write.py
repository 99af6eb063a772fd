"""A study of bounds as JSON and a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.error_bound.runs import BoundStudy
from analysis.error_bound.sweep import SweepPoint
from analysis.results import Reasons

NAME = "error_bound"
_OUTSIDE = "the recipe is not plain gradient descent, or the bound is beyond every number"
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
    "bound": _OUTSIDE,
    "loss_bound": _OUTSIDE,
    "holds": _OUTSIDE,
    "informative": _OUTSIDE,
}


def to_json(study: BoundStudy) -> dict[str, Any]:
    """Lay a study out for a JSON file.

    Args:
        study: The study.

    Returns:
        The ingredients, the exponents, and whether every bound holds.
    """
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
        "bounds": len(bounded),
        "bounds_that_hold": sum(bool(point.holds) for point in bounded),
        "bounds_that_inform": sum(bool(point.informative) for point in bounded),
    }


def to_tables(study: BoundStudy) -> dict[str, pd.DataFrame]:
    """Lay a study out as a table.

    Args:
        study: The study.

    Returns:
        A row a trained recipe.
    """
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
        "bound": None if limit is None else limit.total,
        "loss_error": point.loss_error,
        "loss_bound": point.loss_bound,
        "holds": point.holds,
        "informative": point.informative,
    }
