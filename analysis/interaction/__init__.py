"""Interaction: why a mixture-trained model is not the average of experts, predicted beside measured."""

from analysis.interaction.anchored import anchors
from analysis.interaction.any_horizon import residual_of_quadratics
from analysis.interaction.compare import Agreement, agreement
from analysis.interaction.explained import ExplainedPoint, ExplainedStudy, explained_of_run
from analysis.interaction.runs import InteractionStudy, of_run
from analysis.interaction.scheffe import ScheffeCorrection, scheffe_correction
from analysis.interaction.scores import flips, score_effect
from analysis.interaction.second_order import SecondOrder, second_order
from analysis.interaction.step_sizes import StepSizes
from analysis.interaction.trained import full_batch, trained_residual

__all__ = [
    "Agreement",
    "ExplainedPoint",
    "ExplainedStudy",
    "InteractionStudy",
    "ScheffeCorrection",
    "SecondOrder",
    "StepSizes",
    "agreement",
    "anchors",
    "explained_of_run",
    "flips",
    "full_batch",
    "of_run",
    "residual_of_quadratics",
    "scheffe_correction",
    "score_effect",
    "second_order",
    "trained_residual",
]
