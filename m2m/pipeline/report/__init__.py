"""The one-page report of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.support.lazy import lazy_names

if TYPE_CHECKING:
    from m2m.pipeline.report.write import write_report

__all__ = ["write_report"]

__getattr__ = lazy_names(__name__, {"write_report": "m2m.pipeline.report.write"})
