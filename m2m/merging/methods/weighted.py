"""What methods share that come down to one weight an input: their twin, and checks on weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.merging.methods.spec import Coefficients, Inputs, Reference, Settings, Vectors

if TYPE_CHECKING:
    from torch import Tensor, dtype


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
