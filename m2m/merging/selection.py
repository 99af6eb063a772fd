"""The selecting methods (ties, dare, breadcrumbs, della, sce): from settings to the numbers of the compiled pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from m2m.merging.methods.counter_random import keep_threshold, philox_key
from m2m.merging.methods.spec import Method, Settings, Trim
from m2m.merging.methods.task_vectors import keep_range
from m2m.merging.methods.weighted import normaliser

if TYPE_CHECKING:
    from m2m._core import ExpertSpec, SelectSpec


def select_spec(method: Method, settings: Settings, shape: Sequence[int]) -> SelectSpec:
    """Say in numbers what a method does to one tensor.

    Args:
        method: A method of kind `selection`.
        settings: Its settings for the tensor.
        shape: The tensor's shape.

    Returns:
        What the compiled pass needs to know.
    """
    from m2m._core import ExpertSpec, SelectSpec

    tie_is_plus = settings.definition == "mergekit"
    if method.trim is None:
        experts = [ExpertSpec(trim="all") for _ in settings.each]
        share = settings.number("select_topk")
        return SelectSpec(combine="energy", tie_is_plus=tie_is_plus, share=share, experts=experts)
    total, row = element_count(shape), row_length(shape)
    experts = [expert_spec(method.trim, settings, n, total) for n in range(len(settings.each))]
    normalize = settings.flag("normalize")
    return SelectSpec(
        combine="elect" if method.elect else "sum",
        tie_is_plus=tie_is_plus,
        normalise=normalize and method.elect,
        divisor=normaliser(settings.numbers("weight"), settings) if normalize and not method.elect else 1.0,
        factor=settings.number("lambda"),
        row=row,
        experts=experts,
    )


def expert_spec(trim: Trim, settings: Settings, expert: int, total: int) -> ExpertSpec:
    """Say in numbers how one expert's task vector is trimmed and scaled.

    Args:
        trim: The method's rule.
        settings: Its settings for the tensor.
        expert: The expert's position, from 0.
        total: Elements of the tensor.

    Returns:
        What the compiled pass needs to know.
    """
    from m2m._core import ExpertSpec

    values = settings.each[expert]
    weight, density = float(values["weight"]), float(values["density"])
    if density in (0, 1):
        return ExpertSpec(trim="all" if density else "none", weight=weight)
    rescale, paper = settings.flag("rescale"), settings.definition == "paper"
    if trim in ("magnitude", "outliers"):
        dropped, kept = kept_ranks(trim, density, float(values.get("gamma", 0)), total)
        return ExpertSpec(trim="largest", weight=weight, dropped=dropped, kept=kept, keeps_norm=rescale)
    key = philox_key(settings.seed, expert, settings.tensor)
    keeps_norm = rescale and not paper
    if trim == "random":
        scale = 1 / density if rescale and paper else 1.0
        threshold = keep_threshold(density)
        return ExpertSpec(
            trim="draw", weight=weight, scale=scale, keeps_norm=keeps_norm, key=key, keep_below=threshold
        )
    low, high = keep_range(density, float(values["epsilon"]), settings.definition)
    return ExpertSpec(
        trim="ranked",
        weight=weight,
        keeps_norm=keeps_norm,
        key=key,
        low=low,
        high=high,
        to_ends=not paper,
        single=density,
        inverse_scale=rescale and paper,
    )


def kept_ranks(trim: Trim, density: float, gamma: float, total: int) -> tuple[int, int]:
    """Count how many of the largest elements are dropped, and how many of the next are kept.

    Args:
        trim: `magnitude` or `outliers`.
        density: Share of elements to keep, in (0, 1).
        gamma: For `outliers`: share of the largest elements to drop; what is to be kept goes first.
        total: Elements of the tensor.

    Returns:
        Dropped, kept.
    """
    kept = int(density * total)
    if trim == "magnitude":
        return 0, min(max(1, kept), total)
    return min(int(gamma * total), total - kept), kept


def element_count(shape: Sequence[int]) -> int:
    """Count a tensor's elements.

    Args:
        shape: Its shape.

    Returns:
        P.
    """
    count = 1
    for size in shape:
        count *= size
    return count


def row_length(shape: Sequence[int]) -> int:
    """Measure a row: what shares the first index; a vector is one row.

    Args:
        shape: A tensor's shape.

    Returns:
        Elements.
    """
    return element_count(shape[1:] if len(shape) > 1 else shape)
