"""The task-vector family: trim each task vector, weight it, perhaps elect a sign, add the sum to the base."""

from __future__ import annotations

from m2m.errors import RecipeError
from m2m.merging.methods.linear import WEIGHT
from m2m.merging.methods.spec import Method, Parameter, Settings, Trim, flag, number, twin
from m2m.merging.methods.weights import normaliser

_DENSITY = number("density", "model", 1.0, low=0, high=1)
_GAMMA = number("gamma", "model", 0.01, low=0, high=1)
_EPSILON = number("epsilon", "model", 0.15, low=0, high=1)


def keep_range(density: float, epsilon: float, definition: str) -> tuple[float, float]:
    """Lowest and highest keep probability of DELLA's MAGPRUNE.

    Args:
        density: Mean keep probability.
        epsilon: Width of the range (paper) or half of it (mergekit).
        definition: `paper` or `mergekit`.

    Returns:
        Probability of the smallest and of the largest element.
    """
    if density in (0, 1):
        return density, density
    half = epsilon / 2 if definition == "paper" else epsilon
    return density - half, density + half


def _check(settings: Settings, *, elect: bool, trim: Trim) -> None:
    weights = settings.numbers("weight")
    if settings.flag("normalize") and not elect:
        normaliser(weights, settings)
    if settings.flag("normalize") and elect and min(weights) < 0 < max(weights):
        raise RecipeError(
            f"weights {weights} have both signs, so agreeing ones could cancel; set normalize: false"
        )
    if trim != "rank":
        return
    for density, epsilon in zip(settings.numbers("density"), settings.numbers("epsilon"), strict=True):
        low, high = keep_range(density, epsilon, settings.definition)
        if low < 0 or high > 1:
            raise RecipeError(
                f"density {density:g} with epsilon {epsilon:g} gives keep probabilities [{low:g}, {high:g}], "
                "not within [0, 1]"
            )


def _family(
    name: str,
    trim: Trim,
    *,
    elect: bool,
    normalize: bool,
    rescale: bool,
    source: str,
    differences: str = "",
    extra: tuple[Parameter, ...] = (),
) -> Method:
    return Method(
        name=name,
        base="required",
        least=1,
        most=None,
        parameters=(
            WEIGHT,
            _DENSITY,
            *extra,
            flag("normalize", normalize),
            flag("rescale", rescale),
            number("lambda", "shared", 1.0),
            flag("int8_mask", False, effect=False),
        ),
        kind="selection",
        space="task vectors",
        source=source,
        differences=differences,
        reference=twin("task_vectors", trim=trim, elect=elect),
        trim=trim,
        elect=elect,
        row="first index" if trim == "rank" else None,
        rejects=lambda settings: _check(settings, elect=elect, trim=trim),
    )


_TIES = "Yadav et al., TIES-Merging, 2023, arXiv 2306.01708"
_DARE = "Yu et al., Language models are super Mario, 2024, arXiv 2311.03099"
_DELLA = "Deep, Bhardwaj, Poria, DELLA-Merging, 2024, arXiv 2406.11617"
_BREADCRUMBS = "Davari, Belilovsky, Model breadcrumbs, 2023, arXiv 2312.06795"
_ELECT = "an exact tie of signs merges nothing, `definition: mergekit` elects +"
_SCALE = "kept elements are scaled by 1/density; `definition: mergekit` matches the L1 norm of the draw"
_RANKS = (
    "keep probabilities span density ± epsilon/2 and each kept element is scaled by 1/probability; "
    "`definition: mergekit` spans ± epsilon and matches the L1 norm"
)
_DRAWS = "draws come from the recipe's seed, not from torch's global generator"

METHODS = (
    _family("ties", "magnitude", elect=True, normalize=True, rescale=False, source=_TIES, differences=_ELECT),
    _family(
        "dare_linear",
        "random",
        elect=False,
        normalize=False,
        rescale=True,
        source=_DARE,
        differences=f"{_SCALE}; {_DRAWS}",
    ),
    _family(
        "dare_ties",
        "random",
        elect=True,
        normalize=False,
        rescale=True,
        source=f"{_DARE}; {_TIES}",
        differences=f"{_SCALE}; {_ELECT}; {_DRAWS}",
    ),
    _family(
        "breadcrumbs",
        "outliers",
        elect=False,
        normalize=False,
        rescale=False,
        source=_BREADCRUMBS,
        extra=(_GAMMA,),
    ),
    _family(
        "breadcrumbs_ties",
        "outliers",
        elect=True,
        normalize=False,
        rescale=False,
        source=f"{_BREADCRUMBS}; {_TIES}",
        differences=_ELECT,
        extra=(_GAMMA,),
    ),
    _family(
        "della",
        "rank",
        elect=True,
        normalize=True,
        rescale=True,
        source=_DELLA,
        differences=f"{_RANKS}; {_ELECT}; {_DRAWS}",
        extra=(_EPSILON,),
    ),
    _family(
        "della_linear",
        "rank",
        elect=False,
        normalize=False,
        rescale=True,
        source=_DELLA,
        differences=f"{_RANKS}; {_DRAWS}",
        extra=(_EPSILON,),
    ),
)
