"""Which elements of a task vector are kept, and by how much the kept ones are scaled.

Contract: `keep` is exact (selection on bits, integer random draws); scales are float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m2m.merging.methods.counter_random import draw_words, keep_threshold, philox_key
from m2m.merging.methods.spec import Settings, Trim
from m2m.merging.methods.task_vectors import keep_range
from m2m.merging.methods.twins.selection import largest, magnitude_bits, ranks, share_count
from m2m.merging.methods.twins.sums import ordered_sum


@dataclass(frozen=True)
class Kept:
    """A trimmed task vector.

    Attributes:
        mask: Which elements are kept. [*S]
        scale: Factor on kept elements: a float64 scalar tensor, or one an element. [] or [*S]
    """

    mask: Tensor
    scale: Tensor


def trim_task_vector(vector: Tensor, trim: Trim, settings: Settings, expert: int) -> Kept:
    """Trim one expert's task vector.

    Args:
        vector: τ, in the task vector type. [*S]
        trim: The rule.
        settings: `density`, `rescale`, and `gamma` or `epsilon`.
        expert: The expert's position, from 0.

    Returns:
        What is kept and its scale.
    """
    density = float(settings.each[expert]["density"])
    one = torch.ones((), dtype=torch.float64)
    if density == 1:
        return Kept(torch.ones_like(vector, dtype=torch.bool), one)
    mask, probability = _mask(vector, trim, density, settings, expert)
    if not settings.flag("rescale"):
        return Kept(mask, one)
    if probability is not None and settings.definition == "paper":
        return Kept(mask, torch.where(probability > 0, 1 / probability, one))
    return Kept(mask, one * _norm_ratio(vector, mask))


def _mask(
    vector: Tensor, trim: Trim, density: float, settings: Settings, expert: int
) -> tuple[Tensor, Tensor | None]:
    """Return the mask and, for random rules, the keep probability (float64, [] or [*S])."""
    total = vector.numel()
    bits = magnitude_bits(vector)
    if trim == "magnitude":
        return largest(bits, max(1, share_count(density, total)) if density > 0 and total else 0), None
    if trim == "outliers":
        kept = share_count(density, total)
        # The target number kept wins over the share of outliers to drop.
        dropped = min(share_count(float(settings.each[expert]["gamma"]), total), total - kept)
        return largest(bits, dropped + kept) & ~largest(bits, dropped), None
    probability = torch.tensor(density, dtype=torch.float64)
    if trim == "rank":
        probability = rank_probabilities(
            bits, density, float(settings.each[expert]["epsilon"]), settings.definition
        )
    return _draw(vector, probability, settings, expert), probability


def rank_probabilities(bits: Tensor, density: float, epsilon: float, definition: str) -> Tensor:
    """Keep probabilities by rank of magnitude in each row.

    MAGPRUNE of DELLA, arXiv 2406.11617, section 3.1.     A row is one output unit: what shares the first
    index; a vector is one row. With rank r = 0 for the largest of C and bounds low, high from `keep_range`:
    the paper's q = high − (high − low)·r/C; mergekit's q = low + (high − low)·(C−1−r)/(C−1), the density for
    C = 1. In float64: the product first, then the quotient, then the sum.

    Args:
        bits: Magnitude bits. [*S]
        density: Mean keep probability, in (0, 1).
        epsilon: Width of the range (half of it for mergekit).
        definition: `paper` or `mergekit`.

    Returns:
        q, float64. [*S]
    """
    low, high = keep_range(density, epsilon, definition)
    rows = bits.flatten(1) if bits.dim() > 1 else bits.reshape(1, -1)
    rank, columns = ranks(rows).double(), rows.shape[1]
    if definition == "paper":
        probability = high - (high - low) * rank / columns
    elif columns > 1:
        probability = low + (high - low) * (columns - 1 - rank) / (columns - 1)
    else:
        probability = torch.full_like(rank, density)
    return probability.reshape(bits.shape)


def _draw(vector: Tensor, probability: Tensor, settings: Settings, expert: int) -> Tensor:
    words = draw_words(philox_key(settings.seed, expert, settings.tensor), 0, vector.numel())
    drawn = torch.from_numpy(words.astype(np.int64)).reshape(vector.shape)
    if probability.dim() == 0:
        return drawn < keep_threshold(probability.item())
    # ldexp and floor are exact, so this is `keep_threshold` element by element.
    return drawn < torch.floor(probability * 2.0**32).long()


def _norm_ratio(vector: Tensor, mask: Tensor) -> float:
    size = vector.double().abs()
    kept = ordered_sum(size * mask)
    return ordered_sum(size) / kept if kept > 0 else 1.0
