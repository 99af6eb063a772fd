"""Signs that numbers do not mean what they seem to: another base, rounding, a model that did not move."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from analysis.orthogonality.confounders import LEAST_SIGNAL, Corrected
from analysis.orthogonality.geometry import Geometry
from m2m.merging.doubts import FAR
from m2m.merging.look import TensorLook

#: Task vectors that all point this much the same way share something that is not their training.
ONE_WAY = 0.9


def suspicions(names: Sequence[str], whole: Geometry, corrected: Corrected | None) -> list[str]:
    """Return a sentence for each thing that speaks against taking the numbers at their face value."""
    found = [*_other_base(names, whole), *_same_expert(names, whole)]
    zero = [name for name, norm in zip(names, whole.norms, strict=True) if norm == 0]
    if zero:
        found.append(f"{', '.join(zero)}: equal to the base, so there is no direction to compare")
    if whole.zeros_of_moved is not None:
        found += [
            f"{name}: {share:.0%} of its task vector is exactly zero, frozen tensors aside: updates are "
            "smaller than the stored type can hold, and its norm and cosines are mostly rounding, or it has "
            "rows that its data never reach"
            for name, share in zip(names, whole.zeros_of_moved, strict=True)
            if 0.5 < share < 1
        ]
    if corrected is not None:
        found += [
            f"{name}: its energy is {signal:.2g} times the rounding noise, below {LEAST_SIGNAL:g}: no "
            "corrected norm or cosine is given"
            for name, signal in zip(names, corrected.signal, strict=True)
            if 0 < signal < LEAST_SIGNAL
        ]
    return found


def _other_base(names: Sequence[str], whole: Geometry) -> list[str]:
    found = []
    cosine, n = whole.cosine, len(names)
    pairs = cosine[np.triu_indices(n, 1)]
    if n > 1 and np.all(pairs > ONE_WAY):
        found.append(
            f"all task vectors point the same way (least cosine {pairs.min():.3f}): this base may not be the "
            "one the experts were trained from"
        )
    if whole.norm_ratio is not None:
        found += [
            f"{name}: its task vector is {ratio:.2g} times as long as the base: is it an expert of another?"
            for name, ratio in zip(names, whole.norm_ratio, strict=True)
            if ratio > FAR
        ]
    return found


def _same_expert(names: Sequence[str], whole: Geometry) -> list[str]:
    """Say which experts have one task vector: ‖τ_i‖², ‖τ_j‖² and ⟨τ_i, τ_j⟩ are then the same sum."""
    gram = whole.gram
    return [
        f"{names[i]} and {names[j]}: their task vectors are equal, so they are one expert under two names"
        for i, j in combinations(range(len(names)), 2)
        if gram[i, i] == gram[j, j] == gram[i, j] != 0
    ]


def counted_twice(looks: Sequence[TensorLook]) -> dict[str, str]:
    """Find tensors that are another one once more, as a head stored beside the embedding it is tied to.

    Equal tensors have equal sums to the bit, as the engine adds each tensor's elements in one order. Tensors
    that nothing moved may be equal by chance (scales of one, say) and add to no task vector.

    Args:
        looks: A look a tensor.

    Returns:
        Name of each such tensor, to the name of the first one that it repeats.
    """
    first: dict[tuple[object, ...], str] = {}
    found = {}
    for look in looks:
        if any(square for row in look.gram for square in row):
            kept = first.setdefault(_without_name(look), look.name)
            if kept != look.name:
                found[look.name] = kept
    return found


def _without_name(look: TensorLook) -> tuple[object, ...]:
    return tuple(str(value) for name, value in vars(look).items() if name != "name")
