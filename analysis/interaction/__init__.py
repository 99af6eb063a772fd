"""Interaction: why a mixture-trained model is not the average of experts, predicted beside measured."""

from analysis.interaction.compare import Agreement, agreement, flips, score_effect
from analysis.interaction.expansion import Expansion, ResidualExpansion, expand
from analysis.interaction.explained import ExplainedPoint, ExplainedStudy, explained_of_run
from analysis.interaction.forecast import Forecast, forecast
from analysis.interaction.noise import batch_noise, residual_noise
from analysis.interaction.optimizers import Coefficients, UpdateRule, follow, outside_theory
from analysis.interaction.predicted import (
    ScheffeCorrection,
    SecondOrder,
    residual_of_quadratics,
    scheffe_correction,
    second_order,
)
from analysis.interaction.seed_free import PooledShare, SeedFree, pooled_share, seed_free
from analysis.interaction.study import InteractionStudy, of_run
from analysis.interaction.trained import full_batch, trained_residual
from m2m.mixing.anchored import anchors

__all__ = [
    "Agreement",
    "Coefficients",
    "Expansion",
    "ExplainedPoint",
    "ExplainedStudy",
    "Forecast",
    "InteractionStudy",
    "PooledShare",
    "ResidualExpansion",
    "ScheffeCorrection",
    "SecondOrder",
    "SeedFree",
    "UpdateRule",
    "agreement",
    "anchors",
    "batch_noise",
    "expand",
    "explained_of_run",
    "flips",
    "follow",
    "forecast",
    "full_batch",
    "of_run",
    "outside_theory",
    "pooled_share",
    "residual_noise",
    "residual_of_quadratics",
    "scheffe_correction",
    "score_effect",
    "second_order",
    "seed_free",
    "trained_residual",
]
