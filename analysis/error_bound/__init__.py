"""Error bounds, estimated: how far a mixture-trained model can be from the average of experts.

Known before the mixture is trained; a theorem for quadratic losses, an estimate for all others (`lipschitz`).
"""

from analysis.error_bound.bound import (
    Bound,
    Ingredients,
    LocalShape,
    Majorant,
    bound,
    ingredients,
    lipschitz,
    majorant,
    score_bound,
)
from analysis.error_bound.study import BoundStudy, of_run
from analysis.error_bound.sweep import SweepPoint, slopes, sweep

__all__ = [
    "Bound",
    "BoundStudy",
    "Ingredients",
    "LocalShape",
    "Majorant",
    "SweepPoint",
    "bound",
    "ingredients",
    "lipschitz",
    "majorant",
    "of_run",
    "score_bound",
    "slopes",
    "sweep",
]
