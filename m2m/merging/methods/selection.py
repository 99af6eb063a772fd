"""Selecting methods (ties, dare, breadcrumbs, della, sce, arcee_fusion): from settings to compiled pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from m2m.merging.methods.counter_random import keep_threshold, philox_key
from m2m.merging.methods.spec import Method, Settings, Trim
from m2m.merging.methods.task_vectors import keep_range
from m2m.merging.methods.weights import normaliser
from m2m.merging.plan.tensors import PlannedTensor
from m2m.merging.stream.window import Window

if TYPE_CHECKING:
    from m2m._core import ExpertSpec, SelectSpec, StreamPass

#: Bits of a magnitude that one look at a tensor counts by: 16 find a float32 threshold in two looks.
_DIGIT_BITS = 16
_LEAST_DIGIT_BITS = 8
#: Tensors that are looked at at the same time, at most: one for every worker, in a big machine.
_TENSORS_AT_ONCE = 16
#: Elements that statistics, riding along, take at once.
_SEGMENT = 65536
#: Bytes of the longest element.
_LONGEST = 8


def selection_passes(method: Method | None, window: Window) -> Iterator[StreamPass]:
    """Look at a window's tensors as often as they need (small ones not at all), then write them.

    Args:
        method: A method of kind `selection`.
        window: The tensors.

    Yields:
        StreamPass: The same pass again and again: it looks until it knows enough, then it writes.
    """
    from m2m._core import SelectPass

    assert method is not None
    experts = max((len(tensor.sources) - 1 for _, tensor in window.merged()), default=0)
    selection = SelectPass(
        window.core,
        allow_nonfinite=window.allow_nonfinite,
        digit_bits=digit_bits(window.memory, experts),
        whole=min(window.slot_bytes // _LONGEST, _SEGMENT),
    )
    specs = _Specs(method)
    for number, tensor in window.merged():
        selection.add(number, specs.of(tensor))
    while selection.look():
        yield selection
    yield selection


class _Specs:
    """What is done to a window's tensors; worked out once for those that differ only in their names."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._draws = method.trim in ("random", "rank")  # by name
        self._known: dict[tuple[object, ...], SelectSpec] = {}

    def of(self, tensor: PlannedTensor) -> SelectSpec:
        settings, shape = tensor.settings, tensor.entry.shape
        if self._draws:
            return select_spec(self._method, settings, shape)
        # By identity, which the window's tensors keep alive: tensors share what the recipe resolved once.
        key = (shape, *[id(part) for one in settings for part in (one.shared, one.each)])
        spec = self._known.get(key)
        if spec is None:
            spec = self._known[key] = select_spec(self._method, settings, shape)
        return spec


def digit_bits(memory: int, experts: int) -> int:
    """Choose how many bits one look counts by: more bits need fewer looks and more memory.

    Args:
        memory: Bytes for counts of one bit pattern, of all tensors that are looked at at once.
        experts: Experts N.

    Returns:
        Bits.
    """
    # Two edges an expert, 8 bytes a count.
    affordable = memory // (max(1, experts) * 2 * _TENSORS_AT_ONCE * 8)
    return max(_LEAST_DIGIT_BITS, min(_DIGIT_BITS, affordable.bit_length() - 1))


def select_spec(method: Method, settings: Sequence[Settings], shape: Sequence[int]) -> SelectSpec:
    """Say in numbers what a method does to one tensor.

    Args:
        method: A method of kind `selection`.
        settings: Its settings for the tensor, one an output; they differ in weights only. [M]
        shape: The tensor's shape.

    Returns:
        What the compiled pass needs to know.
    """
    from m2m._core import SelectSpec

    if method.trim is None:
        return _untrimmed_spec(method, settings, shape)
    first = settings[0]
    total = math.prod(shape)
    return SelectSpec(
        combine="elect" if method.elect else "sum",
        tie_is_plus=first.definition == "mergekit",
        normalise=first.flag("normalize") and method.elect,
        factor=first.number("lambda"),
        row=method.row_length(shape),
        experts=[expert_spec(method.trim, first, n, total) for n in range(len(first.each))],
        outputs=[(one.numbers("weight"), _divisor(method, one)) for one in settings],
    )


def _untrimmed_spec(method: Method, settings: Sequence[Settings], shape: Sequence[int]) -> SelectSpec:
    # sce and arcee_fusion, whose experts have no weights.
    from m2m._core import ExpertSpec, SelectSpec

    first = settings[0]
    experts = [ExpertSpec(trim="all") for _ in first.each]
    outputs = [([1.0] * len(experts), 1.0) for _ in settings]
    if method.name == "arcee_fusion":
        return SelectSpec(combine="fuse", row=method.row_length(shape), experts=experts, outputs=outputs)
    return SelectSpec(
        combine="energy",
        tie_is_plus=first.definition == "mergekit",
        share=first.number("select_topk"),
        experts=experts,
        outputs=outputs,
    )


def _divisor(method: Method, settings: Settings) -> float:
    if method.elect or not settings.flag("normalize"):
        return 1.0
    return normaliser(settings.numbers("weight"), settings)


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
    density, rescale, paper = (
        float(values["density"]),
        settings.flag("rescale"),
        settings.definition == "paper",
    )
    if density in (0, 1):
        return ExpertSpec(trim="all" if density else "none")
    if trim in ("magnitude", "outliers"):
        dropped, kept = kept_ranks(trim, density, float(values.get("gamma", 0)), total)
        return ExpertSpec(trim="largest", dropped=dropped, kept=kept, keeps_norm=rescale)
    key, keeps_norm = philox_key(settings.seed, expert, settings.tensor), rescale and not paper
    if trim == "random":
        return ExpertSpec(
            trim="draw",
            scale=1 / density if rescale and paper else 1.0,
            keeps_norm=keeps_norm,
            key=key,
            keep_below=keep_threshold(density),
        )
    low, high = keep_range(density, float(values["epsilon"]), settings.definition)
    return ExpertSpec(
        trim="ranked",
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
