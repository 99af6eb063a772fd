"""Merging: a recipe becomes a plan, a plan is streamed from checkpoint to checkpoint."""

from m2m.merging.engine import merge, merge_linear
from m2m.merging.report import MergeReport
from m2m.merging.stream.run import MergeOptions

__all__ = ["MergeOptions", "MergeReport", "merge", "merge_linear"]
