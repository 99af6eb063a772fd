"""Names of the array types that are everywhere, and the range in which scores can be computed with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: 64-bit reals of any shape.
Floats = NDArray[np.float64]
#: 64-bit whole numbers of any shape.
Ints = NDArray[np.int64]


#: Largest score in size: its square is a float64, with room for any sum.
LARGEST_SCORE = 1e150
#: Smallest difference between scores: its square is not 0.
SMALLEST_DIFFERENCE = 1e-150


def range_fault(scores: Floats, kind: str = "score") -> str | None:
    """Why scores [M] cannot be computed with, if so; those that are not finite are not looked at."""
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return None
    worst = finite[np.argmax(np.abs(finite))]
    if abs(worst) > LARGEST_SCORE:
        return f"a {kind} is {worst:g}; wanted at most {LARGEST_SCORE:g} in size"
    if 0 < (spread := np.ptp(finite)) < SMALLEST_DIFFERENCE:
        return f"{kind}s differ by at most {spread:.2g}, whose square is 0; give them in a smaller unit"
    return None
