"""Fidelity: how well merged models' scores stand in for those of mixture-trained models."""

from analysis.fidelity.beside import Beside, beside
from analysis.fidelity.correlation import Correlations
from analysis.fidelity.decision import Decision, RedrawnChoice
from analysis.fidelity.intervals import Interval, IntervalEstimate
from analysis.fidelity.regression import MixedEffects, RepeatedMeasures, mixed_effects, repeated_measures
from analysis.fidelity.scores import Points
from analysis.fidelity.sources import of_run, of_scores, of_table, record
from analysis.fidelity.study import Fidelity, FidelityStudy, Pooled, fidelity, of_points, study
from analysis.fidelity.surrogates import free_surrogates
from analysis.fidelity.utilities import Choices

__all__ = [
    "Beside",
    "Choices",
    "Correlations",
    "Decision",
    "Fidelity",
    "FidelityStudy",
    "Interval",
    "IntervalEstimate",
    "MixedEffects",
    "Points",
    "Pooled",
    "RedrawnChoice",
    "RepeatedMeasures",
    "beside",
    "fidelity",
    "free_surrogates",
    "mixed_effects",
    "of_points",
    "of_run",
    "of_scores",
    "of_table",
    "record",
    "repeated_measures",
    "study",
]
