"""Merging: a recipe becomes a plan, a plan is streamed from checkpoint to checkpoint."""

from m2m.merging.engine import MergeOptions, merge, merge_linear
from m2m.merging.report import MergeReport

__all__ = ["MergeOptions", "MergeReport", "merge", "merge_linear"]
