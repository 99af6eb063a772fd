"""How large scores may be, and how close: squares of them and of their differences are numbers."""

from __future__ import annotations

import numpy as np

from m2m.support.arrays import Floats

#: Largest score in size: its square is a float64, with room for any sum.
LARGEST = 1e150
#: Smallest difference between scores: its square is not 0.
SMALLEST = 1e-150


def range_fault(scores: Floats, kind: str = "score") -> str | None:
    """Say why scores cannot be computed with.

    Args:
        scores: The scores; those that are not finite are not looked at. [M]
        kind: What one of them is called.

    Returns:
        The fault; None if there is none.
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return None
    worst = finite[np.argmax(np.abs(finite))]
    if abs(worst) > LARGEST:
        return f"a {kind} is {worst:g}; wanted at most {LARGEST:g} in size"
    if 0 < (spread := np.ptp(finite)) < SMALLEST:
        return f"{kind}s differ by at most {spread:.2g}, whose square is 0; give them in a smaller unit"
    return None
