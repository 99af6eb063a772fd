"""What methods share that come down to one weight an input: their twin, and checks on weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from m2m.errors import RecipeError
from m2m.merging.methods.spec import Coefficients, Inputs, Reference, Settings, Vectors

if TYPE_CHECKING:
    from torch import Tensor, dtype

#: A sum of weights smaller than this share of Σ|w| is cancellation, not a normaliser: dividing by it would
#: blow weights up.
CANCELLED = 2.0**-20


def weighted_twin(
    coefficients: Coefficients,
    *,
    needs_gram: bool,
    on_task_vectors: bool | None,
    vectors: Vectors | None = None,
) -> Reference:
    """Make the reference twin of a method from its coefficients; torch is imported when the twin is called.

    Args:
        coefficients: The method's weights of its points.
        needs_gram: Whether they need the Gram matrix.
        on_task_vectors: Whether the points are task vectors; None means that they are when there is a base
            model.
        vectors: Axis along which one vector lies, from the settings; None takes the whole tensor as one
            vector.

    Returns:
        The twin.
    """

    def reference(inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        from m2m.merging.methods.twins.weighted import merge_weighted

        return merge_weighted(
            inputs,
            settings,
            out_dtype,
            coefficients=coefficients,
            needs_gram=needs_gram,
            on_task_vectors=inputs.base is not None if on_task_vectors is None else on_task_vectors,
            vectors=vectors(settings) if vectors else None,
        )

    return reference


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
