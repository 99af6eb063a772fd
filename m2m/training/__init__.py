"""Uniform-recipe fine-tuning of experts and mixtures."""

from m2m.training.fine_tune import MixtureSampler, Trained, fine_tune, train
from m2m.training.recipe import TrainRecipe

__all__ = ["MixtureSampler", "TrainRecipe", "Trained", "fine_tune", "train"]
