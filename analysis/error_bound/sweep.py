"""Train the same mixture at many step sizes and horizons, and hold the bounds against what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, norms
from analysis.error_bound.bound import (
    Bound,
    Ingredients,
    ScoreShape,
    base_shape,
    bound,
    lipschitz,
    score_bound,
)
from analysis.interaction.compare import Agreement, agreement, quotient
from analysis.interaction.optimizers import UpdateRule, outside_theory
from analysis.interaction.trained import TrainedResidual, full_batch, trained_residual
from m2m.mixing.anchored import anchors
from m2m.setups.protocol import Examples
from m2m.support.progress import Progress, nobody
from m2m.training import TrainRecipe

#: What progress calls it.
SWEEPING = "recipes trained and bounded"


@dataclass(frozen=True)
class SweepPoint:
    """One recipe's residual, measured, predicted and bounded.

    Attributes:
        recipe: How experts and mixture were trained (full batch).
        agreement: Measured Δ beside the second-order prediction.
        travel: ‖θ̃ − θ₀‖ of the merged model.
        mixture_travel: ‖θ* − θ₀‖ of the mixture-trained model.
        bound: Estimated bounds on ‖Δ‖; None where the recipe is outside the theory.
        loss_error: L(θ*) − L(θ̃) on the target, nat.
        loss_bound: Estimated bound on its magnitude, nat; None likewise.
    """

    recipe: TrainRecipe
    agreement: Agreement
    travel: float
    mixture_travel: float
    bound: Bound | None
    loss_error: float
    loss_bound: float | None

    @property
    def relative(self) -> float:
        """‖Δ‖ / ‖θ* − θ₀‖; NaN where the trained model did not move."""
        return quotient(self.agreement.measured, self.mixture_travel)

    @property
    def holds(self) -> bool | None:
        """Whether both bounds hold; None where there is none."""
        if self.bound is None or self.loss_bound is None:
            return None
        return self.agreement.measured <= self.bound.total and abs(self.loss_error) <= self.loss_bound

    @property
    def informative(self) -> bool | None:
        """Whether the bound is below ‖θ̃ − θ₀‖: else it allows that merging found nothing of θ*."""
        return None if self.bound is None else self.bound.total < self.travel


def sweep(
    surface: LossSurface,
    base: Mapping[str, Tensor],
    found: Ingredients,
    recipes: Sequence[TrainRecipe],
    target: Examples,
    seed: int = 0,
    progress: Progress = nobody,
) -> list[SweepPoint]:
    """Train experts and mixture by each recipe at full batch, and compare.

    The constants ρ come from the experts and the merged model, so every bound is known before the mixture is
    trained.

    Args:
        surface: The losses; its set-up is what is trained on.
        base: θ₀, tensor by name.
        found: The mixture's ingredients, with the L2 decay of the recipes that have a bound.
        recipes: The recipes; their batch is widened to the full batch.
        target: Examples of the target whose loss is compared.
        seed: Training seed.
        progress: Called with (done, total, what), in recipes.

    Returns:
        A point a recipe.
    """
    shape = base_shape(surface, target, seed=seed)
    experts = anchors(found.mixture.datasets, share=1.0)
    points: list[SweepPoint] = []
    for recipe in recipes:
        progress(len(points), len(recipes), SWEEPING)
        whole = full_batch(surface.setup, [*experts, found.mixture], recipe)
        trained = trained_residual(surface, base, experts, found.mixture.weights, whole, seed)
        points.append(_point(surface, found, whole, trained, target, shape))
    progress(len(points), len(recipes), SWEEPING)
    return points


def without_bound(recipe: TrainRecipe) -> list[str]:
    """Return why a recipe has no bound; empty for full-batch SGD with momentum or weight decay or without."""
    adaptive = ["AdamW's metric follows the gradients"] if UpdateRule.of(recipe).adaptive else []
    return [*adaptive, *outside_theory(recipe)]


def slopes(x: Sequence[float], y: Sequence[float]) -> list[float]:
    """Measure the exponent between neighbouring points: Δlog y / Δlog x.

    Args:
        x: Positive, in ascending order. [n]
        y: Not negative. [n]

    Returns:
        The local exponents, NaN beside a y of zero. [n − 1]
    """
    logs = [(math.log(a), math.log(b) if b > 0 else math.nan) for a, b in zip(x, y, strict=True)]
    return [(d - b) / (c - a) for (a, b), (c, d) in pairwise(logs)]


def _point(
    surface: LossSurface,
    found: Ingredients,
    recipe: TrainRecipe,
    trained: TrainedResidual,
    target: Examples,
    at_base: ScoreShape,
) -> SweepPoint:
    rule = UpdateRule.of(recipe)
    shape = at_base.moved(surface, target, trained.merged)
    limit = None if without_bound(recipe) else bound(_with_remainder(surface, found, trained), rule)
    travel, mixture_travel = (norms(x[None]).item() for x in (trained.merged, trained.mixture))
    return SweepPoint(
        recipe=recipe,
        agreement=agreement(trained.residual, found.terms.residual(found.weights, rule)),
        travel=travel,
        mixture_travel=mixture_travel,
        bound=limit,
        loss_error=surface.value(target, at=trained.mixture) - shape.loss,
        loss_bound=None if limit is None else score_bound(shape, limit.total),
    )


def _with_remainder(surface: LossSurface, found: Ingredients, trained: TrainedResidual) -> Ingredients:
    data = [surface.setup.datasets[name] for name in found.mixture.members]
    members = zip(data, trained.experts, strict=True)
    return found.with_lipschitz([lipschitz(surface, d, [x, trained.merged]) for d, x in members])
