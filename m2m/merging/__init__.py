"""Merging: a recipe becomes a plan, a plan is streamed from checkpoint to checkpoint."""

from m2m.merging.engine import merge
from m2m.merging.stream.report import MergeReport

__all__ = ["MergeReport", "merge"]
