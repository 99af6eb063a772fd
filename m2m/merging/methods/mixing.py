"""Weighted sums from data mixing: scheffe (second-order corrected proxy) and anchored experts."""

from __future__ import annotations

import math

from m2m.errors import RecipeError
from m2m.merging.methods.linear import WEIGHT
from m2m.merging.methods.parameters import Parameter, Settings, flag, number
from m2m.merging.methods.weighted import WeightedSum
from m2m.mixture import SUM_TOLERANCE


def scheffe_weights(settings: Settings) -> list[float]:
    """Weights of the {K, 2} Scheffé polynomial through experts and pair experts."""
    # The residual Δ(λ) = θ*(λ) − Σ λ_k θ_k is quadratic in λ to leading order, so Δ(λ) = Σ_{k<j} λ_k λ_j
    # u_kj, and an expert trained on the 50/50 pool of a pair gives u_kj = 4 (θ_kj − (θ_k + θ_j)/2). Collected
    # by expert (with Σλ = 1): λ_k (2 λ_k − 1) for θ_k and 4 λ_k λ_j for θ_kj, which sum to 1. `datasets` is
    # `a` for an expert, `a+b` for a pair expert; `weight` is λ, of single experts only. [N] RecipeError if λ
    # is no mixture, a name repeats or is unknown, or a pair in use has no pair expert.
    shares = _shares(settings)
    pairs = _pairs(settings, shares)
    for index, a in enumerate(shares):
        for b in list(shares)[index + 1 :]:
            if shares[a] * shares[b] != 0 and frozenset((a, b)) not in pairs.values():
                raise RecipeError(f"scheffe: no expert for the pair {a}+{b}, which the mixture uses")
    weights = []
    for position, values in enumerate(settings.each):
        if position in pairs:
            a, b = pairs[position]
            weights.append(4 * (shares[a] * shares[b]))
        else:
            share = shares[str(values["datasets"])]
            weights.append(share * (2 * share - 1))
    return weights


def _shares(settings: Settings) -> dict[str, float]:
    shares: dict[str, float] = {}
    for values in settings.each:
        name = str(values["datasets"])
        if "+" in name:
            if "weight" in values:
                raise RecipeError(f"scheffe: the pair expert {name} takes no weight: it follows from λ")
            continue
        if name in shares:
            raise RecipeError(f"scheffe: two experts for the dataset {name}")
        if "weight" not in values:
            raise RecipeError(f"scheffe: the expert for {name} needs a weight, its share of the mixture")
        shares[name] = float(values["weight"])
    _check_mixture(list(shares.values()), 1.0, "scheffe")
    return shares


def _pairs(settings: Settings, shares: dict[str, float]) -> dict[int, frozenset[str]]:
    pairs: dict[int, frozenset[str]] = {}
    for position, values in enumerate(settings.each):
        name = str(values["datasets"])
        if "+" not in name:
            continue
        pair = frozenset(name.split("+"))
        if len(pair) != 2 or not pair <= shares.keys():
            raise RecipeError(f"scheffe: {name!r} is not a pair of two of the datasets {list(shares)}")
        if pair in pairs.values():
            raise RecipeError(f"scheffe: two experts for the pair {name}")
        pairs[position] = pair
    return pairs


def _check_mixture(shares: list[float], total: float, method: str) -> None:
    if any(share < 0 for share in shares) or abs(math.fsum(shares) - total) > SUM_TOLERANCE:
        raise RecipeError(f"{method}: shares {shares} must not be negative and must sum to {total!r}")


def anchored_weights(settings: Settings) -> list[float]:
    """Weights that reach a mixture with experts that all saw some shared data."""
    # Expert i is trained on β D_i + (1 − β) Σ_j s_j D_j. Averaged with weights w, Σw = 1, the data are λ_i =
    # β w_i + (1 − β) s_i, so w_i = (λ_i − (1 − β) s_i) / β. With shared data outside the N datasets, s = 0
    # and Σλ = β. Sharing shrinks the residual by about β² (DeMix, arXiv 2602.00747, trains its components
    # this way). `weight` is λ, `shared` s, `anchor` β. [N] RecipeError if no w with Σw = 1 reaches λ, or only
    # a negative one does and `extrapolate` is false.
    anchor, mixture, shared = (
        settings.number("anchor"),
        settings.numbers("weight"),
        settings.numbers("shared"),
    )
    total = anchor + (1 - anchor) * math.fsum(shared)
    _check_mixture(mixture, total, "anchored")
    weights = [
        (share - (1 - anchor) * common) / anchor for share, common in zip(mixture, shared, strict=True)
    ]
    if min(weights) < -SUM_TOLERANCE and not settings.flag("extrapolate"):
        raise RecipeError(
            f"anchored: the mixture {mixture} asks for less of a dataset than every expert saw; "
            f"merging weights would be {weights} (set extrapolate: true to allow negative ones)"
        )
    return weights


SCHEFFE = WeightedSum(
    name="scheffe",
    base="ignored",
    parameters=(
        Parameter("weight", "model", "number", low=0, high=1),
        Parameter("datasets", "model", "text", required=True),
    ),
    space="weights",
    source="Scheffé, Experiments with mixtures, JRSS B 20(2), 1958, {q, 2} lattice, in weight space",
    differences="not in mergekit",
    weights=scheffe_weights,
)

ANCHORED = WeightedSum(
    name="anchored",
    base="ignored",
    parameters=(
        WEIGHT,
        number("shared", "model", 0.0, low=0, high=1),
        Parameter("anchor", "shared", "number", required=True, low=0, high=1, open_low=True),
        flag("extrapolate", False),
    ),
    space="weights",
    source="shared-share experts as in DeMix, arXiv 2602.00747; inversion of λ = Aᵀw",
    differences="not in mergekit",
    weights=anchored_weights,
)

METHODS = (SCHEFFE, ANCHORED)
