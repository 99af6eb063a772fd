"""What fidelity would be if second-order theory were right: merged models scored, moved, and scored again."""

from __future__ import annotations

import numpy as np

from analysis.fidelity.correlation import FEWEST
from m2m.support.arrays import Floats

#: A predicted change is cut to this share of the merged model's own way: the theory has no say beyond.
LARGEST_SHARE = 0.5
#: Below this predicted correlation the outlook warns.
LOW = 0.8


def cut_factors(change: Floats, travel: Floats) -> Floats:
    """Return the factors by which changes are cut, so that none is longer than half the way.

    Args:
        change: Lengths ‖Δ̂‖ of the predicted changes. [M]
        travel: Lengths ‖θ̃ − θ₀‖ of the merged models' ways. [M]

    Returns:
        Factors in 0 … 1; 1 where the change is short enough. [M]
    """
    longest = LARGEST_SHARE * travel
    return np.divide(longest, change, out=np.ones_like(change), where=change > longest)


def predicted_fidelity(merged: Floats, moved: Floats) -> tuple[float | None, str]:
    """Correlate merged models' scores with those of the same models moved by Δ̂: Pearson's r̂. Source: ours.

    Args:
        merged: Scores of the merged models of mixtures of two datasets or more. [M]
        moved: Scores of the moved models. [M]

    Returns:
        r̂ and an empty reason; or None and why there is none.
    """
    if len(merged) < FEWEST:
        return None, f"{len(merged)} mixtures of two datasets or more: a correlation takes {FEWEST}"
    if not (np.isfinite(merged).all() and np.isfinite(moved).all()):
        return None, "the loss of a merged or moved model is not finite"
    if not (np.ptp(merged) and np.ptp(moved)):
        return None, "all merged or all moved models have one loss"
    return float(np.corrcoef(merged, moved)[0, 1]), ""
