"""Fidelity: how well merged models' scores stand in for those of mixture-trained models."""

from analysis.fidelity.correlation import Correlations
from analysis.fidelity.decision import Decision
from analysis.fidelity.estimate import Estimate, Interval
from analysis.fidelity.measure import Fidelity, Pooled, Study, fidelity, of_points, study
from analysis.fidelity.points import Points
from analysis.fidelity.tables import of_scores, of_table

__all__ = [
    "Correlations",
    "Decision",
    "Estimate",
    "Fidelity",
    "Interval",
    "Points",
    "Pooled",
    "Study",
    "fidelity",
    "of_points",
    "of_scores",
    "of_table",
    "study",
]
