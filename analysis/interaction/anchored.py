"""Anchored experts: each trains on a share of its own data and a share of what all have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from analysis.curvature.loss_surface import norms
from analysis.interaction.compare import quotient
from analysis.trained_run import TrainedRun
from m2m.checkpoint import Checkpoint
from m2m.errors import InputError, MixtureError
from m2m.mixture import Mixture
from m2m.support.devices import one_thread
from m2m.training import fine_tune


def anchors(datasets: Sequence[str], share: float, common: Mixture | None = None) -> list[Mixture]:
    """Mix what anchored experts train on: row i is β·e_i + (1 − β)·common (as in DeMix).

    Differences between experts' gradients and Hessians shrink by β, the residual to second order by β². A
    merge with weights w then stands for the mixture Aᵀw, where row i of A is expert i's mixture; mixtures
    outside the anchors' hull are out of reach.

    Args:
        datasets: The N dataset names.
        share: β, the expert's own share, in (0, 1].
        common: What is shared; None: all datasets in equal parts.

    Returns:
        A mixture an expert. [N]

    Raises:
        MixtureError: If the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise MixtureError(f"an anchored expert's own share must be above 0 and at most 1, got {share}")
    shared = (common or Mixture.subset(datasets, datasets)).weights
    rows = [
        [share * (i == j) + (1 - share) * weight for j, weight in enumerate(shared)]
        for i in range(len(datasets))
    ]
    return [Mixture.normalised(dict(zip(datasets, row, strict=True))) for row in rows]


def reached(experts: Sequence[Mixture], weights: Sequence[float]) -> Mixture:
    """Return the mixture Aᵀw that a merge of (anchored) experts with weights w stands for."""
    pairs = list(zip(experts, weights, strict=True))
    names = experts[0].datasets
    return Mixture.normalised(
        {name: sum(weight * row.weights[i] for row, weight in pairs) for i, name in enumerate(names)}
    )


@dataclass(frozen=True)
class AnchoredProxy:
    """The residual of all datasets in equal parts, with plain and with anchored experts.

    Attributes:
        share: β, what of its own data an anchored expert trains on.
        plain: ‖Δ‖ / ‖θ* − θ₀‖ of the run's own experts; NaN where the trained model did not move.
        anchored: The same of anchored experts.
        ratio: anchored / plain; NaN where plain experts leave no residual.
        theory: β², the ratio for small steps of gradient descent.
    """

    share: float
    plain: float
    anchored: float
    ratio: float
    theory: float


def anchored_proxy(run: TrainedRun, share: float) -> AnchoredProxy:
    """Train an anchored expert a dataset by the run's own recipe, and merge them in equal parts."""
    # Anchored on all datasets in equal parts, their equal merge stands for the same mixture as before, which
    # the run has trained: only N experts are trained, on all the run's examples and in its own precision.
    everything = Mixture.subset(run.datasets, run.datasets)
    trained = run.displacement(everything, run.seed)
    if trained is None:
        raise InputError(
            f"{run.folder.root} did not train {everything.label}, which anchors are compared with"
        )
    base = Checkpoint(run.folder.base).state()
    with one_thread():
        states = (
            fine_tune(run.setup.original, base, row, run.recipe, run.seed)
            for row in anchors(run.datasets, share)
        )
        experts = torch.stack([run.surface.displacement(state) for state in states])
    rows = torch.stack([trained, trained - run.experts.mean(0), trained - experts.mean(0)])
    travel, plain, anchored = norms(rows).tolist()
    relative = quotient(plain, travel), quotient(anchored, travel), quotient(anchored, plain)
    return AnchoredProxy(share, *relative, share**2)
