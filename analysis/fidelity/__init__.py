"""Fidelity: how well merged models' scores stand in for those of mixture-trained models."""

from analysis.fidelity.correlation import Correlations
from analysis.fidelity.decision import Decision, Uncertainty
from analysis.fidelity.intervals import Estimate, Interval
from analysis.fidelity.power import Plan, Power, mixtures_needed
from analysis.fidelity.regression import MixedEffects, RepeatedMeasures, mixed_effects, repeated_measures
from analysis.fidelity.scores import Points
from analysis.fidelity.sources import of_scores, of_table
from analysis.fidelity.study import Fidelity, Pooled, Study, fidelity, of_points, study

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
