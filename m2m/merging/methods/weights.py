"""Arithmetic of merging weights: of points and of inputs, and their sum."""

from __future__ import annotations

import math
from collections.abc import Sequence

from m2m.errors import RecipeError
from m2m.merging.methods.spec import Settings

#: A sum of weights smaller than this share of Σ|w| is cancellation, not a normaliser: dividing by it would
#: blow weights up.
CANCELLED = 2.0**-20


def input_weights(points: Sequence[float], *, on_task_vectors: bool) -> list[float]:
    """Turn weights of points into weights of the inputs.

    θ₀ + Σ α_n (θ_n − θ₀) = (1 − Σα) θ₀ + Σ α_n θ_n. Σα is added in ascending n, in float64.

    Args:
        points: α, one a point.
        on_task_vectors: Whether the points are task vectors.

    Returns:
        One weight an input, the base model first. A driver rounds each once to its accumulation type.
    """
    if not on_task_vectors:
        return list(points)
    total = 0.0
    for weight in points:
        total += weight
    return [1.0 - total, *points]


def normalised(weights: Sequence[float], settings: Settings) -> list[float]:
    """Divide weights by their sum; refused if they cancel.

    Args:
        weights: w. [N]
        settings: Names the tensor in an error.

    Returns:
        w / Σw. [N]
    """
    total = normaliser(weights, settings)
    return [weight / total for weight in weights]


def normaliser(weights: Sequence[float], settings: Settings) -> float:
    """Sum weights that will be divided by their sum.

    Args:
        weights: w. [N]
        settings: Names the tensor in an error.

    Returns:
        Σw, correctly rounded.

    Raises:
        RecipeError: If the weights cancel.
    """
    total = math.fsum(weights)
    if abs(total) <= CANCELLED * math.fsum(abs(weight) for weight in weights):
        where = f" for tensor {settings.tensor}" if settings.tensor else ""
        raise RecipeError(f"weights {list(weights)}{where} sum to {total:g}, so they cannot be normalised")
    return total
