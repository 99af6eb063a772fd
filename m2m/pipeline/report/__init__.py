"""The one-page report of a finished run."""

from m2m.pipeline.report.write import write_report

__all__ = ["write_report"]
