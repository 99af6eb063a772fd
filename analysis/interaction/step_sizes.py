"""What a recipe's learning rates mean to second order, and which recipes the theory is about."""

from __future__ import annotations

from dataclasses import dataclass

from m2m.training import TrainRecipe


@dataclass(frozen=True)
class StepSizes:
    """The learning rates η₀, η₁, … of T gradient steps.

    Attributes:
        rates: One a step. [T]
    """

    rates: tuple[float, ...]

    @classmethod
    def constant(cls, rate: float, steps: int) -> StepSizes:
        """Take T equal steps.

        Args:
            rate: η.
            steps: T.

        Returns:
            The step sizes.
        """
        return cls((rate,) * steps)

    @classmethod
    def of(cls, recipe: TrainRecipe) -> StepSizes:
        """Read an expert's step sizes from its recipe.

        Args:
            recipe: The recipe.

        Returns:
            The step sizes, schedule and warm-up included.
        """
        return cls(tuple(recipe.learning_rate_at(step, recipe.steps) for step in range(recipe.steps)))

    @property
    def total(self) -> float:
        """How far gradient flow would have gone: Σ_t η_t, ηT for equal steps."""
        return sum(self.rates)

    @property
    def coefficient(self) -> float:
        """Exact second-order coefficient of gradient descent: Σ_{s<t} η_s η_t, for equal steps η²T(T−1)/2."""
        return sum(rate * sum(self.rates[:step]) for step, rate in enumerate(self.rates))

    @property
    def printed_coefficient(self) -> float:
        """The coefficient printed in MergeMix (arXiv 2601.17858, eq. 8): (ηT)²/2, that of gradient flow."""
        return self.total**2 / 2


def outside_theory(recipe: TrainRecipe) -> list[str]:
    """Say in which ways a recipe is not the gradient descent that the theory is about.

    Args:
        recipe: The recipe.

    Returns:
        Reasons, empty for plain gradient descent at equal steps; minibatches are not counted.
    """
    reasons = {
        f"the optimizer is {recipe.optimizer}": recipe.optimizer != "sgd",
        f"momentum is {recipe.momentum:g}": recipe.momentum != 0,
        f"gradients are clipped at {recipe.clip_norm}": recipe.clip_norm is not None,
        f"weight decay is {recipe.weight_decay:g}": recipe.weight_decay != 0,
        "mixtures train longer than experts (pooled horizon)": recipe.horizon == "pooled",
        "examples are drawn in proportion to dataset sizes": recipe.sampling == "proportional",
    }
    return [reason for reason, holds in reasons.items() if holds]
