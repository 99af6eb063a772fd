"""Uniform-recipe fine-tuning of experts and mixtures."""

from m2m.training.fine_tune import MixtureSampler, fine_tune
from m2m.training.recipe import TrainRecipe

__all__ = ["MixtureSampler", "TrainRecipe", "fine_tune"]
