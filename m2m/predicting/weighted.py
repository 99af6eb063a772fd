"""Several fitted models as one: the weighted mean of what they predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m2m.predicting.protocol import Model
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class WeightedModels:
    """Predicts Σ weight · prediction.

    Attributes:
        weights: One a model. [L]
        models: The models; those of weight zero are not asked.
    """

    weights: Floats
    models: Sequence[Model]

    def predict(self, x: Floats) -> Floats:
        """Return the weighted predictions.

        Args:
            x: Mixture weights. [M, N]

        Returns:
            The expected scores. [M]
        """
        total = np.zeros(len(x))
        for weight, model in zip(self.weights, self.models, strict=True):
            if weight > 0:
                total += weight * model.predict(x)
        return total
