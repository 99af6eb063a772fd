"""A number that says how sure it is, or why it is not there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval.

    Attributes:
        low: Lower end, or None if the interval is not defined.
        high: Upper end, or None.
        method: How it was made.
        reason: Why it is missing or to be read with care; empty if neither.
    """

    low: float | None
    high: float | None
    method: str
    reason: str = ""


@dataclass(frozen=True)
class Estimate:
    """A statistic of n rows.

    Attributes:
        value: The estimate; None if it is not defined.
        low: Lower end of the 95 % interval named by `method`.
        high: Upper end.
        n: Rows it was computed from.
        method: How `low` and `high` were made.
        reason: Why something is missing or to be read with care; empty if neither.
        p: Two-sided permutation p-value of "no association", or None.
        intervals: The same interval by other methods, which answer other questions about what varies.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str = ""
    reason: str = ""
    p: float | None = None
    intervals: tuple[Interval, ...] = ()

    @classmethod
    def missing(cls, n: int, reason: str) -> Estimate:
        """Say that a statistic is not defined.

        Args:
            n: Rows there were.
            reason: Why they do not give a number.

        Returns:
            The estimate without value.
        """
        return cls(None, None, None, n, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Lay the estimate out for a JSON file.

        Returns:
            The attributes; `intervals` by method.
        """
        content = asdict(self)
        content["intervals"] = {
            i.method: {"low": i.low, "high": i.high, "reason": i.reason} for i in self.intervals
        }
        return content
