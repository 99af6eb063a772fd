"""An interaction study as JSON and a table."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from analysis.interaction.runs import InteractionStudy, Residual
from analysis.results import Reasons

NAME = "interaction"
_NO_RESIDUAL = "the measured or the predicted residual is zero"
_NO_CORRECTION = "the correction was fitted to pairs, not every pair was trained, or there is no residual"
#: Why a number may not be there.
REASONS: Reasons = {
    "cosine": _NO_RESIDUAL,
    "share": _NO_RESIDUAL,
    "scale": _NO_RESIDUAL,
    "relative": "the trained model did not move",
    "mean_relative": "no trained model moved",
    "rho": "the mean gradient is zero, and what bends it is not",
    "seed_distance": "the mixture was not trained with a second seed",
    "corrected": _NO_CORRECTION,
    "corrected_loss": _NO_CORRECTION,
    "mean_corrected": "no mixture has a corrected residual",
    "anchored": "anchored experts were not asked for, or the trained model did not move",
    "plain": "the trained model did not move",
    "ratio": "plain experts leave no residual",
}


def to_json(study: InteractionStudy) -> dict[str, Any]:
    """Lay a study out for a JSON file.

    Args:
        study: The study.

    Returns:
        The residuals by mixture, what they flip, and the recipe's coefficients.
    """
    corrected = [
        row.corrected for row in study.residuals if row.corrected is not None and math.isfinite(row.corrected)
    ]
    relative = [row.relative for row in study.residuals if math.isfinite(row.relative)]
    return {
        "target": study.target,
        "outside_theory": study.outside,
        "coefficient": study.steps.coefficient,
        "printed_coefficient": study.steps.printed_coefficient,
        "residuals": [_row(row) for row in study.residuals],
        "mean_relative": float(np.mean(relative)) if relative else None,
        "mean_corrected": float(np.mean(corrected)) if corrected else None,
        "anchored": asdict(study.anchored) if study.anchored else None,
        "pairs": len(study.residuals) * (len(study.residuals) - 1) // 2,
        "flipped": study.flipped,
        "flipped_by_effect": study.flipped_by_effect,
        "flipped_by_prediction": study.flipped_by_prediction,
    }


def to_tables(study: InteractionStudy) -> dict[str, pd.DataFrame]:
    """Lay a study out as a table.

    Args:
        study: The study.

    Returns:
        A row a mixture.
    """
    return {"": pd.DataFrame([_row(row) for row in study.residuals])}


def _row(row: Residual) -> dict[str, Any]:
    own = {key: value for key, value in vars(row).items() if key not in ("mixture", "agreement")}
    return {"mixture": row.mixture.label, **asdict(row.agreement), **own}
