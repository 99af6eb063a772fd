"""How much less residual merges of anchored experts leave (`m2m.mixing.anchored` says what those are)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from analysis.curvature.loss_surface import norms
from analysis.interaction.compare import quotient
from analysis.trained_run import TrainedRun
from m2m.checkpoint import Checkpoint
from m2m.errors import InputError
from m2m.mixing.anchored import anchors
from m2m.mixture import Mixture
from m2m.support.devices import one_thread
from m2m.training import fine_tune


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
