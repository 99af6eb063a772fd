"""A loss as a quadratic in the merging weights: by derivatives, or from losses of merged models alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, inner
from analysis.curvature.products import Matrix
from analysis.curvature.tables import asymmetry, symmetric
from m2m.errors import InputError, MixtureError
from m2m.setups.protocol import Examples
from m2m.support.arrays import Floats

#: Loss of the merged model θ₀ + Σ α_n τ_n, from α. [N] → nat
LossOfWeights = Callable[[Floats], float]
#: Order of the differences that are free of the function's own change and show its noise only.
_NOISE_ORDER = 5
#: Standard deviations of noise that the stated error allows for.
_SIGMAS = 3


@dataclass(frozen=True)
class QuadraticExpansion:
    """L(θ₀ + Σ_n α_n τ_n) ≈ c + bᵀα + ½ αᵀAα: the loss at the base, its gradient and Hessian on span(τ).

    Attributes:
        constant: c, loss at the base, nat.
        slope: b_n = ∇Lᵀτ_n, nat. [N]
        curvature: A_ij = τ_iᵀ ∇²L τ_j, or with the Gauss-Newton matrix, nat. [N, N]
        asymmetry: max|A − Aᵀ| / max|A| before A was made symmetric: rounding.
    """

    constant: float
    slope: Floats
    curvature: Floats
    asymmetry: float = 0.0

    def predict(self, weights: ArrayLike) -> Floats:
        """Predict the merged models' losses.

        Args:
            weights: Merging weights, a row a candidate. [M, N]

        Returns:
            Loss of each merged model, nat. [M]

        Raises:
            MixtureError: If a row does not have N weights.
        """
        alpha = np.asarray(weights, dtype=np.float64)
        if alpha.ndim != 2 or alpha.shape[1] != len(self.slope):
            raise MixtureError(f"weights must be [M, {len(self.slope)}], got shape {list(alpha.shape)}")
        return np.asarray(
            self.constant
            + alpha @ self.slope
            + np.einsum("mi,ij,mj->m", alpha, self.curvature, alpha, optimize=True) / 2
        )


def quadratic_expansion(
    surface: LossSurface, examples: Examples, tasks: Tensor, *, matrix: Matrix = "hessian"
) -> QuadraticExpansion:
    """Expand a loss at the base along the task vectors: one gradient and N products.

    Args:
        surface: The losses.
        examples: What the loss is averaged over, say a target's validation split.
        tasks: Task vectors, as rows. [N, P]
        matrix: What stands for the Hessian; `ggn` is the loss of the model that is linear in its parameters.

    Returns:
        The quadratic expansion.
    """
    surface.check_deterministic(examples)
    bent = inner(tasks, surface.products(examples, tasks, matrix=matrix)).numpy()
    slope = inner(surface.gradient(examples)[None], tasks)[0].numpy()
    return QuadraticExpansion(surface.value(examples), slope, symmetric(bent), asymmetry(bent))


@dataclass(frozen=True)
class Differences:
    """A quadratic expansion of the loss from differences of losses, with the error of each number.

    Attributes:
        model: Constant, slope and curvature, extrapolated to step 0 (Richardson).
        slope_error: Stated error of each slope: step and rounding. [N]
        curvature_error: Stated error of each A_ij, likewise. [N, N]
        noise: Standard deviation of a single loss value, nat.
        step: The largest of the three steps used.
        evaluations: Losses that were computed.
    """

    model: QuadraticExpansion
    slope_error: Floats
    curvature_error: Floats
    noise: float
    step: float
    evaluations: int


def second_differences(loss: LossOfWeights, count: int, step: float = 0.25) -> Differences:
    """Take central first and mixed second differences at three steps, extrapolate, and check the steps.

    D(h) = D + c h² + d h⁴ + …, so R(h) = (4 D(h) − D(2h))/3 is free of the h² term (L. F. Richardson, 1911).
    The result is R at the smallest step; |R(h) − R(2h)|, about 15 times its own error, is stated as the error
    of the step, and three standard deviations of what the noise of a loss value becomes are added. Costs
    6N² + 7 losses.

    Args:
        loss: Loss of a merged model from its merging weights, nat.
        count: N.
        step: The largest step, in units of a whole task vector; the others are its half and quarter.

    Returns:
        The expansion and its errors.

    Raises:
        InputError: If the step is not positive or `count` is below 1.
    """
    if not (step > 0 and math.isfinite(step)) or count < 1:
        raise InputError(f"differences need a step above 0 and N ≥ 1, got step {step}, N {count}")
    constant = loss(np.zeros(count))
    noise = noise_level(loss, count, step)
    steps = (step, step / 2, step / 4)
    slopes, curves = zip(*(_at_step(loss, count, h, constant) for h in steps), strict=True)
    slope, slope_change = _richardson(slopes)
    curve, curve_change = _richardson(curves)
    return Differences(
        model=QuadraticExpansion(constant, slope, curve),
        slope_error=slope_change + _SIGMAS * noise * _slope_amplification(steps[-1]),
        curvature_error=curve_change + _SIGMAS * noise * _curvature_amplification(count, steps[-1]),
        noise=noise,
        step=step,
        evaluations=6 * count * count + 1 + _NOISE_ORDER + 1,
    )


def _richardson(values: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the extrapolation of differences at steps 4h, 2h, h, and how far the last halving moved it."""
    before, last = ((4 * values[i + 1] - values[i]) / 3 for i in (0, 1))
    return last, np.abs(last - before)


def noise_level(loss: LossOfWeights, count: int, step: float) -> float:
    """Return the standard deviation of a loss value's rounding noise, from a table of high differences, nat.

    At m + 1 points close together, 2⁻¹⁰ of the step, the m-th differences of the smooth part vanish; what is
    left is noise, of variance (2m)!/(m!)² σ² (Moré and Wild, SIAM J. Sci. Comput. 33, 2011). At least half a
    unit in the last place.
    """
    direction = np.full(count, step * 2.0**-10 / (_NOISE_ORDER * math.sqrt(count)))
    values = np.array([loss(direction * i) for i in range(_NOISE_ORDER + 1)])
    # The first differences of few points are few; the orders together are steadier than the last alone.
    levels = [
        math.sqrt(np.mean(np.diff(values, m) ** 2) / math.comb(2 * m, m)) for m in range(3, _NOISE_ORDER + 1)
    ]
    return max(*levels, float(np.spacing(np.abs(values).max())) / 2)


def _at_step(loss: LossOfWeights, count: int, step: float, center: float) -> tuple[Floats, Floats]:
    """Return slope [N] and curvature [N, N] at one step; 2N² losses."""
    slope, curve = np.zeros(count), np.zeros((count, count))
    unit = step * np.eye(count)
    for i in range(count):
        up, down = loss(unit[i]), loss(-unit[i])
        slope[i] = (up - down) / (2 * step)
        curve[i, i] = (up - 2 * center + down) / step**2
        for j, mixed in _mixed(loss, unit, i):
            curve[i, j] = curve[j, i] = mixed / (4 * step**2)
    return slope, curve


def _mixed(loss: LossOfWeights, unit: Floats, i: int) -> Iterator[tuple[int, float]]:
    for j in range(i):
        same = loss(unit[i] + unit[j]) + loss(-unit[i] - unit[j])
        yield j, same - loss(unit[i] - unit[j]) - loss(unit[j] - unit[i])


def _slope_amplification(step: float) -> float:
    # Weights 4/3 at h and −1/3 at 2h: the standard deviation of the extrapolated slope for noise 1.
    return math.hypot(4 / 3 * math.sqrt(2) / (2 * step), 1 / 3 * math.sqrt(2) / (4 * step))


def _curvature_amplification(count: int, step: float) -> Floats:
    # As above, for the second differences [N, N]; four losses a mixed one, weights 1, −2, 1 on the diagonal,
    # whose common middle makes the two steps' errors add up rather than average.
    off = math.hypot(4 / 3 * math.sqrt(4) / (4 * step**2), 1 / 3 * math.sqrt(4) / (16 * step**2))
    on = 4 / 3 * math.sqrt(6) / step**2 + 1 / 3 * math.sqrt(6) / (4 * step**2)
    return np.where(np.eye(count, dtype=bool), on, off)
