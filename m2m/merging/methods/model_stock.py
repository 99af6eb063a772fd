"""model_stock: how far to go from base to mean, from the angles between task vectors."""

from __future__ import annotations

import math

from m2m.merging.methods.spec import Gram, Method, Settings, flag
from m2m.merging.methods.spherical import cosines_of
from m2m.merging.methods.weighted import weighted_twin

#: 1 + (N−1)·cos below this is N unit vectors that sum to zero: there is no way to go, the base model stays.
_OPPOSED = 1e-6


def model_stock_coefficients(gram: Gram | None, settings: Settings) -> list[float]:
    """Weights of `model_stock`: t/N each, t = N cos φ / (1 + (N−1) cos φ).

    Model Stock, arXiv 2403.19522, eq. 2 and its form for N models.     The paper has one angle for all pairs;
    here cos φ is the mean over the pairs.

    Args:
        gram: Inner products of the task vectors. [N, N]
        settings: Not used.

    Returns:
        α of the task vectors. [N]
    """
    assert gram is not None
    n = len(gram)
    cosines = cosines_of(gram)
    pairs = [cosines[i][j] for i in range(n) for j in range(i)]
    cosine = math.fsum(pairs) / len(pairs)
    below = 1 + (n - 1) * cosine
    t = n * cosine / below if below >= _OPPOSED else 0.0
    return [t / n] * n


def _rows(settings: Settings) -> int | None:
    return -1 if settings.flag("filter_wise") else None


MODEL_STOCK = Method(
    name="model_stock",
    base="required",
    least=2,
    most=None,
    parameters=(flag("filter_wise", False),),
    kind="gram",
    space="task vectors",
    source="Jang, Yun, Han, Model Stock, 2024, arXiv 2403.19522",
    differences="no lower clamp (1e-6) on products of norms",
    reference=weighted_twin(
        model_stock_coefficients,
        needs_gram=True,
        on_task_vectors=True,
        vectors=_rows,
    ),
    coefficients=model_stock_coefficients,
    vectors=_rows,
)

METHODS = (MODEL_STOCK,)
