"""Uniform-recipe fine-tuning of experts and mixtures."""

from m2m.training.fine_tune import fine_tune
from m2m.training.recipe import TrainRecipe
from m2m.training.sampling import MixtureSampler

__all__ = ["MixtureSampler", "TrainRecipe", "fine_tune"]
