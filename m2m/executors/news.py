"""News of a job: whatever runs may tell how far it is, and whoever had it run hears that.

A job may itself have jobs done in its process: it hears them, and what it then tells goes to its own hearer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Seconds between two pieces of news of a job.
NEWS_EVERY = 0.5


class Hearer:
    """Hears what is told in a `with` block; there may be several blocks, one after the other.

    Args:
        hear: Called with each piece of news.
    """

    def __init__(self, hear: Callable[[Any], None]) -> None:
        self._hear, self._last = hear, 0.0
        self._outer: Hearer | None = None

    def __enter__(self) -> None:
        global _hearer
        self._outer, _hearer = _hearer, self

    def __exit__(self, *_: object) -> None:
        global _hearer
        _hearer = self._outer

    def hear(self, news: Any) -> None:
        """Hear news, unless there was some just now."""
        global _hearer
        now = time.monotonic()
        if now - self._last < NEWS_EVERY:
            return
        self._last, _hearer = now, self._outer
        try:
            self._hear(news)
        finally:
            _hearer = self


_hearer: Hearer | None = None


def tell(news: Any) -> None:
    """Tell whoever runs this job how far it is; too much news is left out."""
    if _hearer is not None:
        _hearer.hear(news)
