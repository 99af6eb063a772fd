"""Gradient-boosted trees (LightGBM), with settings that suit few rows, and those of two papers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from m2m.support.arrays import Floats

#: Ours: leaves of a hundredth of the rows, at least 2; the library's 20 leaves nothing to split in 40 rows.
OURS: dict[str, Any] = {"n_estimators": 600, "learning_rate": 0.03, "num_leaves": 15}
#: RegMix's regression notebook: 1000 rounds at 0.01; its early stopping looked at the test set, so it is left
# out.
REGMIX: dict[str, Any] = {"n_estimators": 1000, "learning_rate": 0.01, "min_child_samples": 20}
#: MergeMix (arXiv 2601.17858) prints no settings: the library's own.
MERGEMIX: dict[str, Any] = {"n_estimators": 100, "learning_rate": 0.1, "min_child_samples": 20}


@dataclass(frozen=True)
class TreeModel:
    """Fitted trees of standardised scores; `centre` and `scale` are in the score's unit."""

    booster: Any
    centre: float
    scale: float

    def predict(self, x: Floats) -> Floats:
        """Scores [M] of mixtures [M, N]."""
        sums = np.asarray(self.booster.predict(x), dtype=np.float64)
        return self.centre + self.scale * sums


@dataclass(frozen=True)
class BoostedTrees:
    """Fits LightGBM, reproducibly and on one thread.

    Attributes:
        settings: Parameters of `lightgbm.LGBMRegressor`; without `min_child_samples` it follows the rows.
    """

    settings: Mapping[str, Any] = field(default_factory=lambda: OURS)

    def __call__(self, x: Floats, y: Floats, seed: int) -> TreeModel:
        """Fit."""
        import lightgbm

        settings = {"min_child_samples": max(2, len(y) // 100), **self.settings}
        parameters = {
            **{key: value for key, value in settings.items() if key != "n_estimators"},
            "objective": "regression",
            "verbosity": -1,
            "num_threads": 1,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
        }
        # Labels are float32 in there, which has no room for small differences on a high level.
        centre, scale = float(y.mean()), float(y.std())
        data = lightgbm.Dataset(x, label=(y - centre) / scale, params={"verbosity": -1})
        booster = lightgbm.train(parameters, data, num_boost_round=settings["n_estimators"])
        return TreeModel(booster, centre, scale)
