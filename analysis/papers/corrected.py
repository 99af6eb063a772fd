"""Corrected proxies of a mixture: what they are trained on, and the weights of their sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m2m.support.arrays import Floats

#: β: what of its own data an anchored expert is trained on (DeMix's choice), the rest of all in equal parts.
ANCHOR = 0.5


def scheffe_rows(weights: Floats, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Weigh experts and models of pairs as Scheffé's quadratic through them does.

    Exact where the residual of merging is quadratic in the ratio, as it is to second order
    (`analysis.interaction`). Weights may be negative; those of a mixture have the sum one.

    Args:
        weights: Of mixtures. [M, N]
        pairs: Numbers of the datasets of each pair that is trained in equal parts. [P]

    Returns:
        Weights of the experts, then of the pairs' models. [M, N + P]
    """
    of_pairs = [4 * weights[:, i] * weights[:, j] for i, j in pairs]
    return np.hstack([weights * (2 * weights - 1), np.array(of_pairs).T])
