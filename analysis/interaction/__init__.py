"""Interaction: why a mixture-trained model is not the average of experts, predicted beside measured."""

from analysis.interaction.anchored import anchors
from analysis.interaction.compare import Agreement, agreement, flips, score_effect
from analysis.interaction.explained import ExplainedPoint, ExplainedStudy, explained_of_run
from analysis.interaction.predicted import (
    ScheffeCorrection,
    SecondOrder,
    StepSizes,
    residual_of_quadratics,
    scheffe_correction,
    second_order,
)
from analysis.interaction.study import InteractionStudy, of_run
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
