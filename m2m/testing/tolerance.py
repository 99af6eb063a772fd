r"""The only place where a tolerance is computed: derived from rounding-error analysis, never tuned.

With u the unit roundoff and η the smallest subnormal of a format, N terms summed by fused multiply-adds give

.. math:: |\hat y - y| \le \gamma_N \sum_n |A_n||\theta_n| + N\eta, \qquad \gamma_N = \frac{Nu}{1 - Nu}

(Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, section 3.1, one rounding a term), and
storing adds :math:`u_{out}|\hat y| + \eta_{out}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from m2m.ops import accumulation_dtype

#: Bits of the significand, the hidden one included.
_PRECISION = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


def unit_roundoff(dtype: torch.dtype) -> float:
    """Return u, half the distance between 1 and the next number.

    Args:
        dtype: float64, float32, float16 or bfloat16.

    Returns:
        2^-p for a format with p bits of significand.
    """
    return float(2.0 ** -_PRECISION[dtype])


def smallest_subnormal(dtype: torch.dtype) -> float:
    """Return η, the smallest number above zero.

    Args:
        dtype: float64, float32, float16 or bfloat16.

    Returns:
        η as a float64, which holds it exactly.
    """
    return float(2.0 * unit_roundoff(dtype) * torch.finfo(dtype).tiny)


def gamma(terms: int, u: float) -> float:
    """Return γ_n = nu / (1 − nu), the growth of n roundings (Higham, lemma 3.1).

    Args:
        terms: Number of roundings n, with nu < 1.
        u: Unit roundoff.

    Returns:
        γ_n.
    """
    return terms * u / (1 - terms * u)


def weighted_sum_bound(
    experts: Sequence[Tensor], weights: Any, out_dtype: torch.dtype | None = None
) -> Tensor:
    """Bound how far a weighted sum under m2m's numeric contract may be from the exact one.

    Holds where nothing overflows. Weights count as exact once they are in the accumulation dtype. The bound
    itself is computed in float64 and rounded up by what its own evaluation may lose.

    Args:
        experts: N tensors of one shape and dtype. each [*S]
        weights: Merging weights, a row a candidate. [M, N]
        out_dtype: Dtype of the candidates; default None is the experts' own.

    Returns:
        Largest possible |computed − exact| of each element, float64. [M, *S]
    """
    accumulation = accumulation_dtype(experts[0].dtype)
    out = experts[0].dtype if out_dtype is None else out_dtype
    matrix = torch.as_tensor(weights, dtype=torch.float64).to(accumulation).double()
    stacked = torch.stack([expert.detach().double() for expert in experts])
    n = len(experts)
    magnitude = torch.tensordot(matrix.abs(), stacked.abs(), dims=1)
    summing = gamma(n, unit_roundoff(accumulation)) * magnitude + n * smallest_subnormal(accumulation)
    exact_at_most = torch.tensordot(matrix, stacked, dims=1).abs() + gamma(n, 2.0**-53) * magnitude
    u = unit_roundoff(out)
    bound = u * exact_at_most + (1 + u) * summing + smallest_subnormal(out)
    rounded_up: Tensor = bound * (1 + gamma(2 * n + 16, 2.0**-53))
    return rounded_up
