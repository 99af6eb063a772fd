"""Weights that follow from angles and norms: on spheres slerp, nuslerp, multislerp, karcher; and model_stock.

All stay in the span of their points, so weights from the Gram matrix say everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from m2m.errors import RecipeError
from m2m.merging.methods.gram import Gram, GramSum
from m2m.merging.methods.linear import WEIGHT
from m2m.merging.methods.parameters import Parameter, Settings, flag, number
from m2m.merging.methods.weighted import normalised, normaliser

#: 1 − cos² below this is parallel or antipodal to float64 precision: the arc is not defined, the chord is.
_PARALLEL = 1e-16
#: |cos| above which mergekit's slerp takes the chord.
_MERGEKIT_CHORD = 0.9995
#: Sums of nuslerp's weights below this, in size, are zero, as in mergekit.
_CANCEL = 1e-6
#: 1 + (N−1)·cos below this is N unit vectors that sum to zero: there is no way to go, the base model stays.
_OPPOSED = 1e-6


def arc(cosine: float, t: float, chord_above: float | None = None) -> list[float]:
    """Weights [2] of two points at t on the arc between them (Shoemake, SIGGRAPH 1985, eq. for Slerp)."""
    # sin((1−t)φ)/sin φ and sin(tφ)/sin φ; 1−t and t on the chord, which is taken where the arc is not
    # defined, or where |cosine| is above `chord_above`.
    chord = 1 - cosine * cosine <= _PARALLEL if chord_above is None else abs(cosine) > chord_above
    if chord:
        return [1 - t, t]
    angle = math.acos(cosine)
    return [math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]


def norms_of(gram: Gram) -> list[float]:
    """Norms of the points of a Gram matrix [K]."""
    return [math.sqrt(gram[i][i]) for i in range(len(gram))]


def cosines_of(gram: Gram) -> list[list[float]]:
    """Cosines in [−1, 1], the diagonal 1; those of a zero vector are 0 [K, K]."""
    norms = norms_of(gram)
    cosines = [[0.0] * len(gram) for _ in gram]
    for i, row in enumerate(gram):
        for j, product in enumerate(row):
            size = norms[i] * norms[j]
            cosines[i][j] = max(-1.0, min(1.0, product / size)) if size > 0 else 0.0
        cosines[i][i] = 1.0 if norms[i] > 0 else 0.0
    return cosines


def slerp_weights(gram: Gram, settings: Settings) -> list[float]:
    """α of the base model and the expert, from their Gram matrix [2, 2] [2]."""
    chord_above = _MERGEKIT_CHORD if settings.definition == "mergekit" else None
    return arc(cosines_of(gram)[0][1], settings.number("t"), chord_above)


def nuslerp_weights(gram: Gram, settings: Settings) -> list[float]:
    """Slerp with t = w₂ / (w₁ + w₂), half way where the weights cancel, as in mergekit [2]."""
    weights = settings.numbers("weight")
    total = math.fsum(weights)
    return arc(cosines_of(gram)[0][1], weights[1] / total if abs(total) >= _CANCEL else 0.5)


def multislerp_weights(gram: Gram, settings: Settings) -> list[float]:
    """The normalised mean of directions, at the mean of the norms. [N]."""
    # The published recipe goes from that mean to its tangent space, averages there and comes back. The
    # tangent vectors at the normalised weighted mean μ = m/‖m‖ average to m − ⟨m, μ⟩ μ = 0, so the way there
    # and back is the identity and is left out. RecipeError if the mean direction vanishes and there are more
    # than two points.
    weights = settings.numbers("weight")
    if len(weights) == 1:
        return [1.0]
    if settings.flag("normalize_weights"):
        weights = normalised(weights, settings)
    norms, cosines = norms_of(gram), cosines_of(gram)
    length = math.sqrt(max(0.0, _quadratic(cosines, weights)))
    if length < settings.number("eps"):
        if len(weights) == 2 or not any(norms):
            return weights
        raise RecipeError(f"multislerp: the directions of the experts cancel in tensor {settings.tensor}")
    size = math.fsum(w * norm for w, norm in zip(weights, norms, strict=True))
    return [size * w / (norm * length) if norm > 0 else 0.0 for w, norm in zip(weights, norms, strict=True)]


def _quadratic(cosines: Sequence[Sequence[float]], a: Sequence[float]) -> float:
    return math.fsum(a[i] * a[j] * cosines[i][j] for i in range(len(a)) for j in range(len(a)))


def karcher_weights(gram: Gram, settings: Settings) -> list[float]:
    """The Karcher mean of the directions, at the mean of the norms, equal weights. [N]."""
    # Gradient steps with the sphere's log and exp maps (Buss and Fillmore, ACM TOG 20(2), 2001, algorithm
    # A1), written in the basis of the experts' directions: a vector is its N coefficients, inner products
    # come from the cosines.
    norms, cosines = norms_of(gram), cosines_of(gram)
    present = [i for i, norm in enumerate(norms) if norm > 0]
    if not present:
        return [0.0] * len(norms)
    share = 1 / len(present)
    mean = _unit(cosines, [share if norm > 0 else 0.0 for norm in norms], settings)
    for _ in range(int(settings.number("max_iter"))):
        step = _mean_log(cosines, mean, present, settings)
        length = math.sqrt(max(0.0, _quadratic(cosines, step)))
        if length < settings.number("tol"):
            break
        along, across = math.cos(length), math.sin(length) / length
        mean = _unit(cosines, [along * m + across * s for m, s in zip(mean, step, strict=True)], settings)
    size = math.fsum(norms) / len(norms)
    return [size * m / norm if norm > 0 else 0.0 for m, norm in zip(mean, norms, strict=True)]


def _unit(cosines: list[list[float]], a: list[float], settings: Settings) -> list[float]:
    length = math.sqrt(max(0.0, _quadratic(cosines, a)))
    if length < settings.number("tol"):
        raise RecipeError(f"karcher: the directions of the experts cancel in tensor {settings.tensor}")
    return [value / length for value in a]


def _mean_log(
    cosines: list[list[float]], mean: list[float], present: list[int], settings: Settings
) -> list[float]:
    step = [0.0] * len(mean)
    for i in present:
        dot = max(-1.0, min(1.0, math.fsum(c * m for c, m in zip(cosines[i], mean, strict=True))))
        angle = math.acos(dot)
        if math.pi - angle < settings.number("tol"):
            raise RecipeError(f"karcher: an expert is opposite to the mean in tensor {settings.tensor}")
        pull = (angle / math.sin(angle) if angle > 0 else 1.0) / len(present)
        step[i] += pull
        step = [s - pull * dot * m for s, m in zip(step, mean, strict=True)]
    return step


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


def _nuslerp_vectors(settings: Settings) -> int | None:
    if settings.flag("nuslerp_flatten"):
        return None
    return 0 if settings.flag("nuslerp_row_wise") else -1


def _check_multislerp(settings: Settings) -> None:
    if settings.flag("normalize_weights"):
        normaliser(settings.numbers("weight"), settings)


SLERP = GramSum(
    name="slerp",
    base="required",
    least=1,
    most=1,
    parameters=(number("t", "shared", low=0, high=1),),
    space="weights",
    source="Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985",
    differences=(
        "the arc is followed down to angle 0; `definition: mergekit` takes the chord where |cos| > 0.9995; "
        "t outside [0, 1] is refused"
    ),
    weights=slerp_weights,
)

NUSLERP = GramSum(
    name="nuslerp",
    base="optional",
    least=2,
    most=2,
    parameters=(WEIGHT, flag("nuslerp_row_wise", False), flag("nuslerp_flatten", True)),
    space="either",
    source="Shoemake 1985, on task vectors if there is a base model; the name is mergekit's",
    weights=nuslerp_weights,
    vectors=_nuslerp_vectors,
)

MULTISLERP = GramSum(
    name="multislerp",
    base="optional",
    least=1,
    most=None,
    parameters=(WEIGHT, flag("normalize_weights", True), number("eps", "shared", 1e-8, low=0, open_low=True)),
    space="either",
    source="Goddard, Multi-SLERP, goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    differences="eps only decides when directions cancel; mergekit also adds it to norms",
    weights=multislerp_weights,
    rejects=_check_multislerp,
)

KARCHER = GramSum(
    name="karcher",
    base="ignored",
    least=1,
    most=None,
    parameters=(
        Parameter("max_iter", "shared", "integer", 10, low=1, high=10**6),
        number("tol", "shared", 1e-5, low=0, open_low=True),
    ),
    space="weights",
    source="Karcher, CPAM 30(5), 1977; algorithm A1 of Buss and Fillmore, ACM TOG 20(2), 2001",
    differences="tensors of norm ≤ tol still count; cancelling directions are refused",
    weights=karcher_weights,
)


def rows_or_whole(settings: Settings) -> int | None:
    """Along which axis model_stock's vectors lie; None: a tensor is one."""
    return -1 if settings.flag("filter_wise") else None


MODEL_STOCK = GramSum(
    name="model_stock",
    base="required",
    least=2,
    parameters=(flag("filter_wise", False),),
    space="task vectors",
    source="Jang, Yun, Han, Model Stock, 2024, arXiv 2403.19522",
    differences="no lower clamp (1e-6) on products of norms",
    weights=model_stock_weights,
    vectors=rows_or_whole,
)

METHODS = (SLERP, NUSLERP, MULTISLERP, KARCHER, MODEL_STOCK)
