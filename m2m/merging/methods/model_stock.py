"""model_stock: how far to go from base to mean, from the angles between task vectors."""

from __future__ import annotations

import math

from m2m.merging.methods.gram import Gram, GramSum
from m2m.merging.methods.spec import Settings, flag
from m2m.merging.methods.spherical import cosines_of

#: 1 + (N−1)·cos below this is N unit vectors that sum to zero: there is no way to go, the base model stays.
_OPPOSED = 1e-6


def model_stock_weights(gram: Gram, settings: Settings) -> list[float]:
    """Weights of `model_stock`: t/N each, t = N cos φ / (1 + (N−1) cos φ)."""
    # Model Stock, arXiv 2403.19522, eq. 2 and its form for N models. The paper has one angle for all pairs;
    # here cos φ is the mean over the pairs of the task vectors' Gram matrix [N, N].
    del settings
    n = len(gram)
    cosines = cosines_of(gram)
    pairs = [cosines[i][j] for i in range(n) for j in range(i)]
    cosine = math.fsum(pairs) / len(pairs)
    below = 1 + (n - 1) * cosine
    t = n * cosine / below if below >= _OPPOSED else 0.0
    return [t / n] * n


MODEL_STOCK = GramSum(
    name="model_stock",
    base="required",
    least=2,
    parameters=(flag("filter_wise", False),),
    space="task vectors",
    source="Jang, Yun, Han, Model Stock, 2024, arXiv 2403.19522",
    differences="no lower clamp (1e-6) on products of norms",
    weights=model_stock_weights,
    vectors=lambda settings: -1 if settings.flag("filter_wise") else None,
)

METHODS = (MODEL_STOCK,)
