"""Merge to Mix as one resumable run: configuration, run folder, steps, workers, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.support.lazy import lazy_names

if TYPE_CHECKING:
    from m2m.pipeline.merge_to_mix import run

__all__ = ["run"]

__getattr__ = lazy_names(__name__, {"run": "m2m.pipeline.merge_to_mix"})
