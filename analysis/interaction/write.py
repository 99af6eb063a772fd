"""An interaction study as JSON and a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from analysis.interaction.runs import InteractionStudy, Residual

NAME = "interaction"


def to_json(study: InteractionStudy) -> dict[str, Any]:
    """Lay a study out for a JSON file.

    Args:
        study: The study.

    Returns:
        The residuals by mixture, what they flip, and the recipe's coefficients.
    """
    corrected = [row.corrected for row in study.residuals if row.corrected is not None]
    return {
        "target": study.target,
        "outside_theory": study.outside,
        "coefficient": study.steps.coefficient,
        "printed_coefficient": study.steps.printed_coefficient,
        "residuals": [_row(row) for row in study.residuals],
        "mean_relative": float(np.mean([row.relative for row in study.residuals])),
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
