"""The outlook of a run whose experts are trained; where mixtures were trained too, what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.curvature.loss_surface import norms
from analysis.interaction.forecast import Forecast, forecast
from analysis.interaction.optimizers import outside_theory
from analysis.outlook.prediction import LOW, cut_factors, predicted_fidelity
from analysis.results import Reasons
from analysis.trained_run import TrainedRun
from m2m.errors import InputError
from m2m.mixture import Mixture, all_subsets
from m2m.support.arrays import Floats
from m2m.support.progress import Progress, nobody

NAME = "outlook"
#: Mixtures that are looked at; of more, this many are drawn.
MOST = 127
#: Why a number may not be there.
REASONS: Reasons = {"true": "too few mixtures of two datasets or more were trained, or all with one loss"}


@dataclass(frozen=True)
class TargetOutlook:
    """What is to be expected on one target.

    Attributes:
        target: Its name.
        predicted: r̂: Pearson of merged models' losses with those of moved ones; None: see `reason`.
        true: Pearson of merged with really trained models' losses over the mixtures that were trained; None
            where they are too few.
        trained: Mixtures of two datasets or more that were trained.
        reason: Why r̂ is not there; empty otherwise.
    """

    target: str
    predicted: float | None
    true: float | None
    trained: int
    reason: str


@dataclass(frozen=True)
class Outlook:
    """The outlook of one run.

    Attributes:
        targets: One a target.
        mixtures: Mixtures of two datasets or more that were looked at.
        reach: Median over mixtures of ‖Δ̂‖ / ‖θ̃ − θ₀‖ before any cut. Above 1 the theory has no say.
        outside: In which ways the recipe is not what the theory is about; empty if it is.
    """

    targets: tuple[TargetOutlook, ...]
    mixtures: int
    reach: float
    outside: tuple[str, ...]

    @property
    def beyond(self) -> bool:
        """Whether the predicted residuals are longer than the ways they are added to."""
        return self.reach > 1

    def verdict(self, target: TargetOutlook) -> str:
        """Put a target's outlook in a word: `beyond theory`, `doubtful`, `good` or `unknown`."""
        if target.predicted is None:
            return "unknown"
        if self.beyond:
            return "beyond theory"
        return "doubtful" if target.predicted < LOW else "good"


def of_run(
    run: TrainedRun, targets: Sequence[str] = (), *, seed: int = 0, progress: Progress | None = None
) -> Outlook:
    """Predict how well merged models will stand in for trained ones; no mixture need be trained.

    Args:
        run: The run, opened; its experts are trained.
        targets: Targets whose losses are predicted; none: all of the run's.
        seed: Draws the mixtures where there are more than 127.
        progress: Called with (done, total, what).

    Returns:
        The outlook. It costs N² Hessian-vector products, and two evaluations a mixture and target.

    Raises:
        InputError: If there are fewer than two datasets, or no such target.
    """  # noqa: DOC502 - raised by what is called
    names = list(targets) or list(run.setup.targets)
    chosen = {name: run.target_named(name)[1] for name in names}
    mixtures, tell = _mixtures(run, seed), progress or nobody
    tell(0, 1, "gradients and curvature at the base")
    merged, moved, reach = _models(run, forecast(run), mixtures)
    tell(1, 1, "gradients and curvature at the base")
    losses = {name: np.full((3, len(mixtures)), np.nan) for name in chosen}
    for row, mixture in enumerate(mixtures):
        trained = run.displacement(mixture, run.seed)
        for name, target in chosen.items():
            for kind, place in enumerate((merged[row], moved[row], trained)):
                if place is not None:
                    losses[name][kind, row] = run.surface.value(target.validation, at=place)
        tell(row + 1, len(mixtures), "merged and moved models")
    found = tuple(_target(name, *rows) for name, rows in losses.items())
    return Outlook(found, len(mixtures), reach, tuple(outside_theory(run.recipe)))


def _mixtures(run: TrainedRun, seed: int) -> list[Mixture]:
    every = [mixture for mixture in all_subsets(list(run.datasets)) if len(mixture.members) > 1]
    if not every:
        raise InputError(f"{run.folder.root} has one dataset: there is nothing to mix")
    if len(every) <= MOST:
        return every
    kept = np.random.default_rng(seed).choice(len(every), MOST, replace=False)
    return [every[i] for i in sorted(kept)]


def _models(run: TrainedRun, plan: Forecast, mixtures: Sequence[Mixture]) -> tuple[Tensor, Tensor, float]:
    """Return merged models and moved ones, [M, P] each, and the median length of Δ̂ over the way."""
    weights = torch.tensor([mixture.weights for mixture in mixtures], dtype=run.experts.dtype)
    merged = weights @ run.experts
    changes = torch.stack([plan.residual(mixture).total for mixture in mixtures])
    length, travel = norms(changes).numpy(), norms(merged).numpy()
    if not travel.all():
        raise InputError(f"{run.folder.root}: a merged model is the base itself: its experts did not move")
    factors = torch.tensor(cut_factors(length, travel), dtype=changes.dtype)
    return merged, merged + factors[:, None] * changes, float(np.median(length / travel))


def _target(name: str, merged: Floats, moved: Floats, trained: Floats) -> TargetOutlook:
    predicted, reason = predicted_fidelity(merged, moved)
    there = np.isfinite(trained)
    true, _ = predicted_fidelity(merged[there], trained[there])
    return TargetOutlook(name, predicted, true, int(there.sum()), reason)


def to_json(outlook: Outlook) -> dict[str, Any]:
    """Lay an outlook out for JSON."""
    rows = [{**asdict(row), "verdict": outlook.verdict(row)} for row in outlook.targets]
    return {**asdict(outlook), "beyond": outlook.beyond, "targets": rows}


def to_tables(outlook: Outlook) -> dict[str, pd.DataFrame]:
    """Lay an outlook out as a table, a row a target."""
    return {"": pd.DataFrame(to_json(outlook)["targets"])}
