"""Least squares that outliers do not rule, from several starts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from m2m.errors import FitError
from m2m.support.arrays import Floats

#: Evaluations a start may take. Most have settled by then; the others are stopped early, which is no failure:
#: a fit is judged by rows that it has not seen, not by how flat its loss is.
MOST_EVALUATIONS = 60
#: Residual, in units of the noise, from which on a row counts as an outlier.
OUTLIER = 1.5


def robust_fit(
    residuals: Callable[[Floats], Floats],
    jacobian: Callable[[Floats], Floats],
    start: Floats,
    *,
    scaled: bool = False,
) -> tuple[float, Floats]:
    """Minimise Σ ρ(residual²) with ρ the soft L1 loss, downhill from one start.

    Args:
        residuals: Residuals of parameters: [P] to [R].
        jacobian: Their derivatives: [P] to [R, P].
        start: Where to start. [P]
        scaled: Whether parameters are scaled by their column of the Jacobian.

    Returns:
        The cost and the parameters [P]; the cost is infinite where the start leads to no finite numbers.
    """
    from scipy.optimize import least_squares

    options = {"x_scale": "jac"} if scaled else {}
    try:
        # A trial step may overflow: scipy sees that it is not finite and takes a shorter one.
        with np.errstate(over="ignore", invalid="ignore"):
            found = least_squares(
                residuals,
                start,
                jac=jacobian,
                loss="soft_l1",
                f_scale=OUTLIER,
                max_nfev=MOST_EVALUATIONS,
                **options,
            )
    except (ValueError, np.linalg.LinAlgError):  # no finite number at the start, or no singular values
        return np.inf, start
    finite = np.isfinite(found.cost) and np.isfinite(found.x).all()
    return (float(found.cost), found.x) if finite else (np.inf, start)


def lowest(fits: list[tuple[float, Floats]]) -> int:
    """Choose among starts.

    Args:
        fits: Cost and parameters of each.

    Returns:
        The number of the one with the least cost, the first of equals.

    Raises:
        FitError: If none led anywhere.
    """
    costs = [cost for cost, _ in fits]
    if not np.isfinite(costs).any():
        raise FitError(f"none of its {len(fits)} starts leads to finite numbers")
    return int(np.argmin(costs))
