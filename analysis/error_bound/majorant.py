"""How far gradient descent on one loss can get from its first- and second-order expansions."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.interaction.step_sizes import StepSizes


@dataclass(frozen=True)
class LocalShape:
    """What a bound needs to know of one loss at θ₀.

    Attributes:
        gradient: ‖g‖.
        bent: ‖Hg‖.
        bent_twice: ‖H²g‖.
        lowest: A lower bound of H's eigenvalues.
        highest: An upper bound of H's eigenvalues.
        lipschitz: ρ with ‖∇L(θ₀ + x) − g − Hx‖ ≤ ½ρ‖x‖² on the way.
    """

    gradient: float
    bent: float
    bent_twice: float
    lowest: float
    highest: float
    lipschitz: float

    def growth(self, rate: float) -> float:
        """Bound one step's stretching.

        Args:
            rate: η.

        Returns:
            ‖I − ηH‖₂ at most.
        """
        return max(abs(1 - rate * self.lowest), abs(1 - rate * self.highest))


@dataclass(frozen=True)
class Majorant:
    """Bounds after the last step of x ← x − η(g + Hx + r(x)), ‖r(x)‖ ≤ ½ρ‖x‖².

    Attributes:
        travel: Of ‖x‖.
        first: Of ‖x + Σηg‖, the distance to the first-order expansion.
        second: Of ‖x + Σηg − cHg‖ with c = Σ_{s<t}η_sη_t, the distance to the second-order expansion.
    """

    travel: float
    first: float
    second: float


def majorant(shape: LocalShape, steps: StepSizes) -> Majorant:
    """Follow the three distances step by step; each line is the triangle inequality.

    With S_t = Σ_{s<t}η_s, c_t = Σ_{s<t}η_sS_s, y = x + Sg and z = x + Sg − cHg, one step gives
    y' = (I − ηH)y + ηS·Hg − ηr and z' = (I − ηH)z − ηc·H²g − ηr.

    Args:
        shape: The loss at θ₀.
        steps: The learning rates.

    Returns:
        The bounds; infinite where the recursion leaves the range of floats.
    """
    travel = first = second = total = coefficient = 0.0
    for rate in steps.rates:
        growth = shape.growth(rate)
        bend = rate * shape.lipschitz / 2 * travel * travel
        next_travel = growth * travel + rate * shape.gradient + bend
        first = growth * first + rate * total * shape.bent + bend
        second = growth * second + rate * coefficient * shape.bent_twice + bend
        coefficient += rate * total
        total += rate
        first = min(first, second + coefficient * shape.bent)
        travel = min(next_travel, total * shape.gradient + first)
    return Majorant(travel, first, second)
