"""Weighted sums of whole checkpoints, as recipes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m2m.merging import MergeReport, merge


def linear_recipe(models: Sequence[str | Path], weights: Sequence[float]) -> dict[str, Any]:
    """Σ w_n θ_n, the weights as they are."""
    entries = [
        {"model": str(model), "parameters": {"weight": weight}}
        for model, weight in zip(models, weights, strict=True)
    ]
    return {"merge_method": "linear", "models": entries, "parameters": {"normalize": False}}


def merge_linear(
    models: Sequence[str | Path],
    weights: Sequence[Sequence[float]],
    out: Path,
    *,
    names: Sequence[str] = ("",),
    **options: Any,
) -> MergeReport:
    """Merge to one checkpoint, or to one a name, with a row of weights each."""
    candidates = None if list(names) == [""] else dict(zip(names, weights, strict=True))
    return merge(linear_recipe(models, weights[0]), out, candidates=candidates, **options)
