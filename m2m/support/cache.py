"""Where m2m keeps what it can fetch or make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder where fetched and prepared data is kept.

    Returns:
        `$M2M_CACHE`, or `m2m` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`).
    """
    if chosen := os.environ.get("M2M_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "m2m"
