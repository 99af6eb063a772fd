"""The residual of every mixture that a run trained, measured beside predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.curvature.loss_surface import norms
from analysis.interaction.anchored import AnchoredProxy, anchored_proxy
from analysis.interaction.compare import WHY_UNDEFINED, Agreement, agreement, flips, quotient, score_effect
from analysis.interaction.predicted import (
    ScheffeCorrection,
    SecondOrder,
    StepSizes,
    outside_theory,
    scheffe_correction,
    second_order,
)
from analysis.results import Reasons
from analysis.trained_run import TrainedRun
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.setups.protocol import Examples

NAME = "interaction"
_NO_CORRECTION = "the correction was fitted to pairs, not every pair was trained, or there is no residual"
#: Why a number may not be there.
REASONS: Reasons = {
    **WHY_UNDEFINED,
    "mean_relative": "no trained model moved",
    "seed_distance": "the mixture was not trained with a second seed",
    "corrected": _NO_CORRECTION,
    "corrected_loss": _NO_CORRECTION,
    "mean_corrected": "no mixture has a corrected residual",
    "anchored": "anchored experts were not asked for, or the trained model did not move",
    "plain": "the trained model did not move",
    "ratio": "plain experts leave no residual",
}


@dataclass(frozen=True)
class Residual:
    """One mixture's residual Δ(λ) = θ*(λ) − θ̃(λ).

    Attributes:
        mixture: The mixture.
        agreement: Measured Δ beside the second-order prediction.
        relative: ‖Δ‖ / ‖θ*(λ) − θ₀‖; NaN where the trained model did not move.
        printed: ‖Δ̂‖ with the paper's coefficient.
        self_scaling: Norm of the prediction's self-domain part.
        interference: Norm of its cross-domain part.
        rho: ρ₂(λ), the relative residual that curvature predicts.
        seed_distance: ‖θ*(λ) − θ*'(λ)‖ to the next seed's training; None if there is none.
        merged_loss: Target's mean loss of the merged model, nat.
        trained_loss: That of the mixture-trained model, nat.
        effect: ∇L(θ̃)ᵀΔ of the measured residual, nat.
        predicted_effect: The same of the predicted residual, nat.
        corrected: ‖Δ − Scheffé‖ / ‖Δ‖; None for pairs, which it was fitted to, or if a pair is not trained.
        corrected_loss: Target's mean loss of the Scheffé-corrected merged model, nat; None likewise.
    """

    mixture: Mixture
    agreement: Agreement
    relative: float
    printed: float
    self_scaling: float
    interference: float
    rho: float
    seed_distance: float | None
    merged_loss: float
    trained_loss: float
    effect: float
    predicted_effect: float
    corrected: float | None
    corrected_loss: float | None


@dataclass(frozen=True)
class InteractionStudy:
    """Residuals of a run's mixtures.

    Attributes:
        residuals: One a trained mixture of two or more datasets.
        steps: The learning rates of the recipe.
        outside: In which ways the recipe is not what the theory is about; empty if it is.
        target: Name of the target whose loss is reported.
        anchored: What anchored experts change; None if not asked for.
    """

    residuals: tuple[Residual, ...]
    steps: StepSizes
    outside: tuple[str, ...]
    target: str
    anchored: AnchoredProxy | None

    @property
    def flipped(self) -> list[tuple[str, str]]:
        """Pairs of mixtures that merged and trained models order differently by the target's loss."""
        return self._flipped([row.trained_loss - row.merged_loss for row in self.residuals])

    @property
    def flipped_by_effect(self) -> list[tuple[str, str]]:
        """Pairs that ∇L(θ̃)ᵀΔ of the measured residuals turns round."""
        return self._flipped([row.effect for row in self.residuals])

    @property
    def flipped_by_prediction(self) -> list[tuple[str, str]]:
        """Pairs that ∇L(θ̃)ᵀΔ̂ of the predicted residuals turns round."""
        return self._flipped([row.predicted_effect for row in self.residuals])

    def _flipped(self, effects: Sequence[float]) -> list[tuple[str, str]]:
        labels = [row.mixture.label for row in self.residuals]
        found = flips([row.merged_loss for row in self.residuals], effects)
        return [(labels[i], labels[j]) for i, j in found]


def of_run(run: TrainedRun, target: str | None = None, *, anchored: float | None = None) -> InteractionStudy:
    """Measure and predict the residual of each mixture that a run trained.

    Args:
        run: The run, opened.
        target: Target whose loss is reported; None: the one the run chose for.
        anchored: Own share β of anchored experts to be trained and compared; None: none are trained.

    Returns:
        The study.

    Raises:
        InputError: If the run trained no mixture of two or more datasets.
    """
    if not run.mixtures:
        raise InputError(
            f"{run.folder.root} trained no mixture of two or more datasets: run it with validate = true"
        )
    name, chosen = run.target_named(target)
    proxy = None if anchored is None else anchored_proxy(run, anchored)
    terms = second_order(run.surface, run.datasets)
    correction = _correction(run)
    steps = StepSizes.of(run.recipe)
    rows = tuple(
        _residual(run, mixture, terms, steps, correction, chosen.validation) for mixture in run.mixtures
    )
    return InteractionStudy(rows, steps, tuple(outside_theory(run.recipe)), name, proxy)


def _residual(
    run: TrainedRun,
    mixture: Mixture,
    terms: SecondOrder,
    steps: StepSizes,
    correction: ScheffeCorrection | None,
    examples: Examples,
) -> Residual:
    merged, trained = _merged(run, mixture), _trained(run, mixture)
    measured, weights = trained - merged, mixture.weights
    predicted = terms.residual(weights, steps)
    parts = torch.stack([terms.self_scaling(weights), terms.interference(weights)])
    own, cross = (steps.coefficient * norms(parts)).tolist()
    effect, predicted_effect = score_effect(run.surface, examples, merged, [measured, predicted])
    again = run.displacement(mixture, run.seed + 1)
    corrected = corrected_loss = None
    if correction is not None and len(mixture.members) > 2:
        change = correction.residual(weights)
        corrected = quotient(_norm(measured - change), _norm(measured))
        corrected_loss = run.surface.value(examples, at=merged + change)
    return Residual(
        mixture=mixture,
        agreement=agreement(measured, predicted),
        relative=quotient(_norm(measured), _norm(trained)),
        printed=_norm(terms.residual(weights, steps, printed=True)),
        self_scaling=own,
        interference=cross,
        rho=terms.rho(weights, steps),
        seed_distance=None if again is None else _norm(trained - again),
        merged_loss=run.surface.value(examples, at=merged),
        trained_loss=run.surface.value(examples, at=trained),
        effect=effect,
        predicted_effect=predicted_effect,
        corrected=corrected,
        corrected_loss=corrected_loss,
    )


def _correction(run: TrainedRun) -> ScheffeCorrection | None:
    number = {name: i for i, name in enumerate(run.datasets)}
    pairs = {
        (number[m.members[0]], number[m.members[1]]): _trained(run, m) - _merged(run, m)
        for m in run.mixtures
        if len(m.members) == 2
    }
    count = len(run.datasets)
    # Without every pair there is nothing to fit.
    complete = len(pairs) == len(list(combinations(range(count), 2)))
    return scheffe_correction(pairs, count) if complete else None


def _merged(run: TrainedRun, mixture: Mixture) -> Tensor:
    return torch.tensor(mixture.weights, dtype=run.experts.dtype) @ run.experts


def _trained(run: TrainedRun, mixture: Mixture) -> Tensor:
    trained = run.displacement(mixture, run.seed)
    if trained is None:
        raise InputError(f"{run.folder.root}: the model trained on {mixture.label} is gone")
    return trained


def _norm(vector: Tensor) -> float:
    return norms(vector[None]).item()


def to_json(study: InteractionStudy) -> dict[str, Any]:
    """Lay a study out for JSON."""
    corrected = [
        row.corrected for row in study.residuals if row.corrected is not None and math.isfinite(row.corrected)
    ]
    relative = [row.relative for row in study.residuals if math.isfinite(row.relative)]
    return {
        "target": study.target,
        "outside_theory": study.outside,
        "coefficient": study.steps.coefficient,
        "printed_coefficient": study.steps.printed_coefficient,
        "residuals": [_row(row) for row in study.residuals],
        "mean_relative": float(np.mean(relative)) if relative else None,
        "mean_corrected": float(np.mean(corrected)) if corrected else None,
        "anchored": asdict(study.anchored) if study.anchored else None,
        "pairs": len(study.residuals) * (len(study.residuals) - 1) // 2,
        "flipped": study.flipped,
        "flipped_by_effect": study.flipped_by_effect,
        "flipped_by_prediction": study.flipped_by_prediction,
    }


def to_tables(study: InteractionStudy) -> dict[str, pd.DataFrame]:
    """Lay a study out as a table, a row a mixture."""
    return {"": pd.DataFrame([_row(row) for row in study.residuals])}


def _row(row: Residual) -> dict[str, Any]:
    own = {key: value for key, value in vars(row).items() if key not in ("mixture", "agreement")}
    return {"mixture": row.mixture.label, **asdict(row.agreement), **own}
