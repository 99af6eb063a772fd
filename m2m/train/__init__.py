"""Uniform-recipe fine-tuning of experts and mixtures."""

from m2m.train.fine_tune import fine_tune
from m2m.train.recipe import TrainRecipe
from m2m.train.sampling import MixtureSampler

__all__ = ["MixtureSampler", "TrainRecipe", "fine_tune"]
