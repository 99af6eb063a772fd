"""Uniform-recipe fine-tuning of experts and mixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.support.lazy import lazy_names

if TYPE_CHECKING:
    from m2m.training.recipe import TrainRecipe
    from m2m.training.saved_state import SavedTraining
    from m2m.training.training_loop import MixtureSampler, Trained, curve_text, fine_tune, train

__all__ = ["MixtureSampler", "SavedTraining", "TrainRecipe", "Trained", "curve_text", "fine_tune", "train"]

__getattr__ = lazy_names(
    __name__,
    {
        "MixtureSampler": "m2m.training.training_loop",
        "SavedTraining": "m2m.training.saved_state",
        "TrainRecipe": "m2m.training.recipe",
        "Trained": "m2m.training.training_loop",
        "curve_text": "m2m.training.training_loop",
        "fine_tune": "m2m.training.training_loop",
        "train": "m2m.training.training_loop",
    },
)
