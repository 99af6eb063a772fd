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
from analysis.interaction.forecast import Forecast, forecast
from analysis.interaction.optimizers import UpdateRule, outside_theory
from analysis.interaction.predicted import ScheffeCorrection, scheffe_correction
from analysis.interaction.seed_free import PooledShare, SeedFree, pooled_share, seed_free
from analysis.results import Reasons
from analysis.trained_run import TrainedRun
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.setups.protocol import Examples

NAME = "interaction"
_ONE_SEED = "the mixture and all experts were not trained with a second seed: the share has its noise in it"
_NO_CORRECTION = "the correction was fitted to pairs, not every pair was trained, or there is no residual"
#: Why a number may not be there.
REASONS: Reasons = {
    **WHY_UNDEFINED,
    "mean_relative": "no trained model moved",
    "seed_distance": "the mixture was not trained with a second seed",
    "noise": _ONE_SEED,
    "predicted_noise": "one example of a dataset does not tell the noise of its minibatches",
    "cosine_first_order": "without Adam's metric there is no first order; or there is no residual",
    "share_first_order": "without Adam's metric there is no first order; or there is no residual",
    "seed_free_share": _ONE_SEED,
    "seed_free_share_first_order": _ONE_SEED,
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
        agreement: Measured Δ beside the prediction to second order.
        first_order: Measured Δ beside what the runs' own metrics make of the gradients; None without Adam.
        seed_free: The prediction beside two seeds' Δ; None if there is one seed.
        seed_free_first_order: The first order beside them; None likewise.
        relative: ‖Δ‖ / ‖θ*(λ) − θ₀‖; NaN where the trained model did not move.
        printed: ‖Δ̂‖ with the paper's coefficient.
        self_scaling: Norm of the self-domain part of c·C_λ, under Adam in one metric for all runs.
        interference: Norm of its cross-domain part.
        rho: The relative residual predicted: ρ₂(λ), under Adam ‖Δ̂‖ over the first-order travel.
        seed_distance: ‖θ*(λ) − θ*'(λ)‖ to the next seed's training; None if there is none.
        noise: Length of the seed's part of Δ, ‖Δ₀ − Δ₁‖/√2 of two seeds; None if there is one.
        predicted_noise: What minibatches make of it to first order; None if not estimated.
        merged_loss: Target's mean loss of the merged model, nat.
        trained_loss: That of the mixture-trained model, nat.
        effect: ∇L(θ̃)ᵀΔ of the measured residual, nat.
        predicted_effect: The same of the predicted residual, nat.
        corrected: ‖Δ − Scheffé‖ / ‖Δ‖; None for pairs, which it was fitted to, or if a pair is not trained.
        corrected_loss: Target's mean loss of the Scheffé-corrected merged model, nat; None likewise.
    """

    mixture: Mixture
    agreement: Agreement
    first_order: Agreement | None
    seed_free: SeedFree | None
    seed_free_first_order: SeedFree | None
    relative: float
    printed: float
    self_scaling: float
    interference: float
    rho: float
    seed_distance: float | None
    noise: float | None
    predicted_noise: float | None
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
        rule: The recipe's optimiser.
        outside: In which ways the recipe is not what the theory is about; empty if it is.
        target: Name of the target whose loss is reported.
        anchored: What anchored experts change; None if not asked for.
    """

    residuals: tuple[Residual, ...]
    rule: UpdateRule
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

    def explained(self, *, first_order: bool = False) -> PooledShare:
        """Pool over mixtures what of the seed-free residuals is explained, to second or to first order."""
        name = "seed_free_first_order" if first_order else "seed_free"
        parts = [(row.mixture, getattr(row, name)) for row in self.residuals]
        known = [(mixture, part) for mixture, part in parts if part is not None]
        return pooled_share([mixture for mixture, _ in known], [part for _, part in known])

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
    theory, correction, again = forecast(run), _correction(run), _experts(run, run.seed + 1)
    rows = tuple(
        _residual(run, mixture, theory, again, correction, chosen.validation) for mixture in run.mixtures
    )
    return InteractionStudy(rows, theory.rule, tuple(outside_theory(run.recipe)), name, proxy)


def _residual(
    run: TrainedRun,
    mixture: Mixture,
    theory: Forecast,
    experts_again: Tensor | None,
    correction: ScheffeCorrection | None,
    examples: Examples,
) -> Residual:
    merged, trained = _merged(run, mixture), _trained(run, mixture)
    measured, weights, terms, rule = trained - merged, mixture.weights, theory.terms, theory.rule
    expansion = theory.residual(mixture)
    predicted = expansion.total
    parts = torch.stack([terms.self_scaling(weights), terms.interference(weights)])
    own, cross = (rule.coefficient * norms(parts)).tolist()
    effect, predicted_effect = score_effect(run.surface, examples, merged, [measured, predicted])
    rho = terms.rho(weights, rule)
    if rule.adaptive:
        rho = quotient(_norm(predicted), _norm(theory.travel(mixture)))
    again, free, free_first, noise = run.displacement(mixture, run.seed + 1), None, None, None
    if again is not None and experts_again is not None:
        other = again - torch.tensor(weights, dtype=again.dtype) @ experts_again
        free = seed_free(measured, other, predicted)
        free_first = seed_free(measured, other, expansion.first)
        noise = _norm(measured - other) / math.sqrt(2)
    corrected = corrected_loss = None
    if correction is not None and len(mixture.members) > 2:
        change = correction.residual(weights)
        corrected = quotient(_norm(measured - change), _norm(measured))
        corrected_loss = run.surface.value(examples, at=merged + change)
    return Residual(
        mixture=mixture,
        agreement=agreement(measured, predicted),
        first_order=agreement(measured, expansion.first) if rule.adaptive else None,
        seed_free=free,
        seed_free_first_order=free_first,
        relative=quotient(_norm(measured), _norm(trained)),
        printed=_norm(terms.residual(weights, rule, printed=True)),
        self_scaling=own,
        interference=cross,
        rho=rho,
        seed_distance=None if again is None else _norm(trained - again),
        noise=noise,
        predicted_noise=theory.residual_noise(mixture),
        merged_loss=run.surface.value(examples, at=merged),
        trained_loss=run.surface.value(examples, at=trained),
        effect=effect,
        predicted_effect=predicted_effect,
        corrected=corrected,
        corrected_loss=corrected_loss,
    )


def _experts(run: TrainedRun, seed: int) -> Tensor | None:
    found = [run.displacement(Mixture.subset(run.datasets, [name]), seed) for name in run.datasets]
    moves = [move for move in found if move is not None]
    return torch.stack(moves) if len(moves) == len(found) else None


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
        "coefficient": study.rule.coefficient,
        "printed_coefficient": study.rule.printed_coefficient,
        "explained_seed_free": asdict(study.explained()),
        "explained_seed_free_first_order": asdict(study.explained(first_order=True)),
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
    apart = ("mixture", "agreement", "first_order", "seed_free", "seed_free_first_order")
    own = {key: value for key, value in vars(row).items() if key not in apart}
    shares = {
        "share_first_order": row.first_order.share if row.first_order else None,
        "cosine_first_order": row.first_order.cosine if row.first_order else None,
        "seed_free_share": row.seed_free.share if row.seed_free else None,
        "seed_free_share_first_order": row.seed_free_first_order.share if row.seed_free_first_order else None,
    }
    return {"mixture": row.mixture.label, **asdict(row.agreement), **shares, **own}
