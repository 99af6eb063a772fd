"""Uniform-recipe fine-tuning of experts and mixtures."""

from m2m.training.fine_tune import MixtureSampler, Trained, curve_text, fine_tune, train
from m2m.training.recipe import TrainRecipe
from m2m.training.saved_state import SavedTraining

__all__ = ["MixtureSampler", "SavedTraining", "TrainRecipe", "Trained", "curve_text", "fine_tune", "train"]
