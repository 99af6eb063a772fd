"""Fidelity: how well merged models' scores stand in for those of mixture-trained models."""

from analysis.fidelity.correlation import Correlations
from analysis.fidelity.decision import Decision
from analysis.fidelity.estimate import Estimate, Interval
from analysis.fidelity.measure import Fidelity, Pooled, Study, fidelity, of_points, study
from analysis.fidelity.mixed import MixedEffects, mixed_effects
from analysis.fidelity.points import Points
from analysis.fidelity.power import Plan, Power, mixtures_needed
from analysis.fidelity.repeated import RepeatedMeasures, repeated_measures
from analysis.fidelity.tables import of_scores, of_table
from analysis.fidelity.uncertainty import Uncertainty

__all__ = [
    "Correlations",
    "Decision",
    "Estimate",
    "Fidelity",
    "Interval",
    "MixedEffects",
    "Plan",
    "Points",
    "Pooled",
    "Power",
    "RepeatedMeasures",
    "Study",
    "Uncertainty",
    "fidelity",
    "mixed_effects",
    "mixtures_needed",
    "of_points",
    "of_scores",
    "of_table",
    "repeated_measures",
    "study",
]
