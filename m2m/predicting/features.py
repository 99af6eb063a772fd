"""What a mixture looks like to a regression: weights, their roots and logarithms, their products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from m2m.errors import FitError
from m2m.support.arrays import Floats

#: Most products of weights that are held at once, of all mixtures fitted to: half a gigabyte, and fits take
#: several copies.
MOST_PRODUCTS = 2**26
#: Turns mixture weights [M, N] into features [M, F].
Features = Callable[[Floats], Floats]
#: Makes features from the mixtures that are fitted to, which may set a floor.
FeatureMap = Callable[[Floats], Features]


def plain(x: Floats) -> Features:
    """Weights as they are: what a mean of experts depends on, to first order.

    Args:
        x: The mixtures that are fitted to; not used. [M, N]

    Returns:
        The features: N a mixture.
    """
    return lambda weights: weights


def roots(x: Floats) -> Features:
    """√x: spreads small weights without a floor, so that zeros stay zeros.

    Args:
        x: The mixtures that are fitted to; not used. [M, N]

    Returns:
        The features: N a mixture.
    """
    return np.sqrt


def with_logarithms(x: Floats) -> Features:
    """X and log(x + floor), the floor being half the smallest positive weight that was seen.

    Where zeros are real, log x alone is not defined; half the smallest weight is what a table that was
    rounded to that weight cannot tell from zero.

    Args:
        x: The mixtures that are fitted to. [M, N]

    Returns:
        The features: 2N a mixture.
    """
    floor = float(x[x > 0].min()) / 2
    return lambda weights: np.hstack([weights, np.log(weights + floor)])


def with_products(x: Floats) -> Features:
    """Scheffé's quadratic x_i, x_i·x_j (i < j): every quadratic on the simplex once (Scheffé 1958).

    Args:
        x: The mixtures that are fitted to. [M, N]

    Returns:
        The features: N(N + 1)/2 a mixture.

    Raises:
        FitError: If all of them together are more than `MOST_PRODUCTS`.
    """
    rows, count = x.shape[0], x.shape[1] * (x.shape[1] + 1) // 2
    if rows * count > MOST_PRODUCTS:
        raise FitError(f"{count} products each are {rows * count} numbers, it takes at most {MOST_PRODUCTS}")
    first, second = np.triu_indices(x.shape[1], k=1)
    return lambda weights: np.hstack([weights, weights[:, first] * weights[:, second]])


def averaged(indicators: Floats) -> Floats:
    """Turn subsets into what averaging makes of them: s/|s| (Merge to Mix, arXiv 2505.16066).

    Args:
        indicators: 1 for a member, 0 otherwise; no row is empty. [M, N]

    Returns:
        Mixture weights. [M, N]
    """
    shares: Floats = indicators / indicators.sum(axis=1, keepdims=True)
    return shares
