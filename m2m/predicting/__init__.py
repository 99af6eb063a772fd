"""Predict the scores of mixtures from those of other mixtures; the family is chosen by cross-validation."""

from __future__ import annotations

from m2m.predicting.families import AUTO, FAMILIES, family
from m2m.predicting.forecast import Forecast, predict
from m2m.predicting.predictor import Prediction, Predictor, families_for, fit_predictor
from m2m.predicting.protocol import Family, Model, WeightedModels
from m2m.predicting.saved import FittedPredictor, load_predictor
from m2m.predicting.trained_pairs import PairCorrection
from m2m.predicting.validation import spearman

__all__ = [
    "AUTO",
    "FAMILIES",
    "Family",
    "FittedPredictor",
    "Forecast",
    "Model",
    "PairCorrection",
    "Prediction",
    "Predictor",
    "WeightedModels",
    "families_for",
    "family",
    "fit_predictor",
    "load_predictor",
    "predict",
    "spearman",
]
