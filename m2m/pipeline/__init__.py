"""Merge to Mix as one resumable run: configuration, run folder, steps, workers, report."""

from m2m.pipeline.merge_to_mix import run

__all__ = ["run"]
