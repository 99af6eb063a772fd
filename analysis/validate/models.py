"""What a run's models say without any score: cosines of task vectors, residuals of merging, curvature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from analysis.curvature.loss_surface import inner
from analysis.curvature.tables import curvature
from analysis.orthogonality.confounders import without_seed_noise
from analysis.orthogonality.geometry import cosines
from analysis.trained_run import TrainedRun, open_run
from analysis.validate.resampling import LOG, LOGIT, over_datasets, over_mixtures
from analysis.validate.verdict import ONE_SEED_COSINES, Evidence
from m2m.errors import InputError
from m2m.mixture import Mixture, weight_matrix
from m2m.pipeline.run_folder import RunFolder
from m2m.support.arrays import Floats, Ints

#: Examples a dataset for curvature: its tables settle early, and a product costs two gradients.
EXAMPLES = 8
_MIXTURES = "mixtures"
_NOISY = (
    "one training seed: ‖Δ‖ and the way hold seed noise, which two seeds tell apart "
    "(validate = true, truth_seeds = 2)"
)


def of_models(folder: RunFolder, seed: int, *, with_curvature: bool) -> dict[str, Evidence]:
    """Measure the geometry of a run's models, without training and without scores: evidence by claim."""
    run = open_run(folder.root, EXAMPLES, float64=False)  # intervals over datasets are far wider
    again = _experts(run, run.seed + 1)
    found = {"orthogonal": cosine_evidence(run.experts, again)}
    if run.mixtures:
        found["first_order"] = _residuals(run, again, seed)
    if with_curvature:
        found["curvature_dominant"] = _dominance(run)
    return found


def _experts(run: TrainedRun, seed: int) -> Tensor | None:
    """Return the experts of another seed [N, P]; None if some were not trained with it."""
    moves = [run.displacement(Mixture.subset(run.datasets, [name]), seed) for name in run.datasets]
    there = [move for move in moves if move is not None]
    return torch.stack(there) if len(there) == len(moves) else None


def cosine_evidence(first: Tensor, again: Tensor | None) -> Evidence:
    """Measure mean |cosine| of pairs of task vectors [N, P], without seed noise where there is a second seed.

    Args:
        first: Task vectors of the first seed. [N, P]
        again: Those of a second seed, in the same order; None if there are none. [N, P]

    Returns:
        The mean with its interval over datasets, inside 0 … 1.
    """
    rows = "pairs of datasets"
    if again is None:
        found = over_datasets(abs(cosines(_products(first, first))), rows, LOGIT)
        return replace(found, condition=ONE_SEED_COSINES)
    return over_datasets(abs(without_seed_noise(_products(first, again))), rows, LOGIT)


def _products(first: Tensor, second: Tensor) -> Floats:
    return np.asarray(inner(first, second).numpy(), dtype=np.float64)


def _residuals(run: TrainedRun, again: Tensor | None, seed: int) -> Evidence:
    weights = torch.tensor(weight_matrix(run.mixtures), dtype=run.experts.dtype)
    products, raw = [], []
    for mixture, row in zip(run.mixtures, weights, strict=True):  # two models in memory at a time
        one, other = (run.displacement(mixture, run.seed + number) for number in (0, 1))
        assert one is not None
        merged = row @ run.experts
        raw.append(float((one - merged).norm() / one.norm()))
        if other is not None and again is not None:
            products.append(crossed(one, other, merged, row @ again))
    if len(products) < len(run.mixtures):
        value = float(np.mean(raw))
        return Evidence(value, None, None, len(raw), _MIXTURES, "mixture bootstrap", _NOISY)
    return residual_evidence(np.array(products), seed)


def crossed(one: Tensor, other: Tensor, merged: Tensor, merged_again: Tensor) -> tuple[float, float]:
    """Return ⟨Δ₀, Δ₁⟩ and ⟨x₀, x₁⟩ of two seeds: ‖E Δ‖² and ‖E x‖² without bias, as noise is independent.

    Args:
        one: Displacement of the mixture-trained model, first seed. [P]
        other: Second seed. [P]
        merged: Displacement of the merged model of the first seed's experts. [P]
        merged_again: Second seed. [P]

    Returns:
        Both products.
    """
    residual = inner((one - merged)[None], (other - merged_again)[None])
    return float(residual), float(inner(one[None], other[None]))


def residual_evidence(products: Floats, seed: int) -> Evidence:
    """Measure ‖E Δ‖/‖E x‖ over mixtures from both products [M, 2]: the root of the mean squared ratio."""

    def ratio(chosen: Ints) -> float:
        residual, way = products[chosen].T
        if (way <= 0).any():
            return float("nan")
        return float(np.sqrt(max(0.0, np.mean(residual / way))))

    return over_mixtures(ratio, len(products), seed, _MIXTURES)


def _dominance(run: TrainedRun) -> Evidence:
    rows = "pairs of datasets, both ways"
    try:
        gamma = curvature(run.surface, run.experts, run.datasets).gamma
    except InputError as error:  # one claim less is no reason to end a validation of hours
        return Evidence(None, None, None, 0, rows, "dataset jackknife", str(error))
    return over_datasets(gamma, rows, LOG)
