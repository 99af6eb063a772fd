"""A study of what is explained at which step size, as JSON and a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.interaction.explained import ENOUGH, ExplainedStudy
from analysis.results import Reasons

NAME = "interaction_steps"
_NO_RESIDUAL = "the measured or the predicted residual is zero"
#: Why a number may not be there.
REASONS: Reasons = {
    "cosine": _NO_RESIDUAL,
    "share": _NO_RESIDUAL,
    "scale": _NO_RESIDUAL,
    "share_any_horizon": _NO_RESIDUAL,
    "relative": "the trained model did not move",
    "rho": "the mean gradient is zero, and what bends it is not",
    "explained_up_to": "at no step size is as much explained",
}


def to_json(study: ExplainedStudy) -> dict[str, Any]:
    """Lay a study out for a JSON file.

    Args:
        study: The study.

    Returns:
        The mixture, ‖H‖, how far second order reaches, and every point.
    """
    horizons = sorted({point.steps for point in study.points})
    return {
        "mixture": study.mixture.label,
        "sharpness": study.sharpness,
        "enough": ENOUGH,
        "explained_up_to": {str(horizon): study.reach(horizon) for horizon in horizons},
        "points": [asdict(point) for point in study.points],
    }


def to_tables(study: ExplainedStudy) -> dict[str, pd.DataFrame]:
    """Lay a study out as a table.

    Args:
        study: The study.

    Returns:
        A row a training.
    """
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
