"""Does adam_merge stand in for trained mixtures better than the mean? On a run with `validate = true`.

The run's experts are trained again, which gives their bits and AdamW's second moments; every mixture of two
or more datasets is merged by adam_merge, and held against the trained mixture and the merge by the mean:

    python benchmarks/adam_merge.py RUN --work DIR

Intervals: percentiles of 2000 redraws of the mixtures, all targets of a mixture together. Mixtures share
datasets, so they are narrower than those for other datasets would be. Scores are validation losses in nat.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

import m2m
from analysis.trained_run import TrainedRun, open_run
from m2m.checkpoint import Checkpoint, save, verified_state
from m2m.checkpoint.locate import MOMENTS_NAME
from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.scoring import TargetScorer, score_model
from m2m.scoring.table import ScoreTable
from m2m.setups.protocol import load_state
from m2m.training import train

Floats = NDArray[np.float64]
REDRAWS = 2000


@dataclass
class Measured:
    """What of one surrogate is held against the truth.

    Attributes:
        loss: The merged models' losses. [mixtures, targets]
        residual: ‖θ* − θ̃‖ / ‖θ* − θ₀‖. [mixtures]
        cosine: Of θ̃ − θ₀ with θ* − θ₀. [mixtures]
    """

    loss: Floats
    residual: Floats
    cosine: Floats


def main() -> None:
    """Merge, score and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run folder, every mixture trained")
    parser.add_argument("--work", type=Path, required=True, help="where experts and merged models go")
    args = parser.parse_args()
    torch.set_num_threads(1)  # as a run's workers train
    run = open_run(args.run, float64=False)
    experts = {name: expert_with_moments(run, name, args.work / "experts") for name in run.datasets}
    losses = {origin: stored_losses(run, origin) for origin in ("trained", "merged")}
    states = {"mean": {}, "adam_merge": {}}
    own = []
    for mixture in run.mixtures:
        state = merged_state(run, experts, mixture, args.work / "merged")
        states["adam_merge"][mixture] = run.surface.displacement(state)
        states["mean"][mixture] = mean(run, mixture)
        own.append(losses_of(run, state))
        print(mixture.label, flush=True)
    truth = {mixture: run.displacement(mixture, run.seed) for mixture in run.mixtures}
    measured = {
        "mean": measure(losses["merged"], states["mean"], truth),
        "adam_merge": measure(np.array(own), states["adam_merge"], truth),
    }
    report(measured, losses["trained"])


def expert_with_moments(run: TrainedRun, name: str, room: Path) -> Path:
    """Train a run's expert again, with its moments; refuse one that is not the run's to the bit."""
    folder, mixture = room / name, Mixture.subset(run.datasets, [name])
    if not folder.exists():
        trained = train(run.setup.original, run.base, mixture, run.recipe, run.seed, moments=True)
        before = verified_state(run.folder.model(mixture, run.seed))
        if any(not tensor.equal(before[key]) for key, tensor in trained.state.items()):
            raise ConfigError(
                f"{name}: training it again gave other weights than the run's, made on another machine?"
            )
        save(trained.state, folder, beside={MOMENTS_NAME: trained.moments})
    return folder


def merged_state(
    run: TrainedRun, experts: dict[str, Path], mixture: Mixture, room: Path
) -> dict[str, Tensor]:
    """Merge a mixture's experts by adam_merge, as `m2m merge` does."""
    out = room / mixture.folder_name
    if not out.exists():
        models = [
            {"model": str(experts[name]), "parameters": {"weight": mixture.shares[name]}}
            for name in mixture.members
        ]
        m2m.merge({"merge_method": "adam_merge", "base_model": str(run.folder.base), "models": models}, out)
    return Checkpoint(out).state()


def mean(run: TrainedRun, mixture: Mixture) -> Tensor:
    """Σ λ_k τ_k [P]."""
    return sum(run.experts[n] * share for n, share in enumerate(mixture.weights) if share)  # type: ignore[return-value]


def losses_of(run: TrainedRun, state: dict[str, Tensor]) -> list[float]:
    """Validation losses of a state, a target at a time."""
    setup = run.setup.original
    scorers = [TargetScorer(setup, target, "validation") for target in setup.targets]
    return [
        float(scores.values["loss"].mean())
        for scores in score_model(load_state(setup.build(), state), scorers)
    ]


def stored_losses(run: TrainedRun, origin: str) -> Floats:
    """The run's own losses, a trained mixture's averaged over its seeds. [mixtures, targets]."""
    with ScoreTable(run.folder.table, read_only=True) as table:
        rows = table.rows(origin=origin, split="validation", metric="loss")
    found = [
        [
            np.mean([r.value for r in rows if (r.candidate, r.task) == (m.label, target)])
            for target in run.setup.targets
        ]
        for m in run.mixtures
    ]
    return np.array(found)


def measure(loss: Floats, moved: dict[Mixture, Tensor], truth: dict[Mixture, Tensor | None]) -> Measured:
    """Hold a surrogate's models against the trained ones."""
    residual, cosine = [], []
    for mixture, there in truth.items():
        assert there is not None
        here = moved[mixture].double()
        goal = there.double()
        residual.append(float((goal - here).norm() / goal.norm()))
        cosine.append(float(here @ goal / here.norm() / goal.norm()))
    return Measured(loss, np.array(residual), np.array(cosine))


def report(measured: dict[str, Measured], truth: Floats) -> None:
    """Print each quantity of both, and the paired difference with its interval."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(REDRAWS)]
    quantities: dict[str, Callable[[Measured, NDArray[np.int64]], float]] = {
        "residual over travel": lambda m, rows: float(m.residual[rows].mean()),
        "cosine with the trained": lambda m, rows: float(m.cosine[rows].mean()),
        "error of the loss, nat": lambda m, rows: float(np.abs(m.loss - truth)[rows].mean()),
        "Pearson within targets": lambda m, rows: pooled(m.loss[rows], truth[rows]),
        "Pearson, mean of targets": lambda m, rows: by_target(m.loss[rows], truth[rows], pearson),
        "Spearman, mean of targets": lambda m, rows: by_target(m.loss[rows], truth[rows], rank),
        "regret, share of the range": lambda m, rows: by_target(m.loss[rows], truth[rows], regret),
    }
    print(f"\n{len(truth)} mixtures, {truth.shape[1]} targets")
    print("| | mean | adam_merge | difference |\n| --- | ---: | ---: | --- |")
    everything = np.arange(len(truth))
    for name, of in quantities.items():
        first, second = (of(measured[key], everything) for key in ("mean", "adam_merge"))
        apart = [of(measured["adam_merge"], rows) - of(measured["mean"], rows) for rows in draws]
        low, high = np.nanpercentile(apart, [2.5, 97.5])
        print(f"| {name} | {first:.3f} | {second:.3f} | {second - first:+.3f} [{low:+.3f}, {high:+.3f}] |")
    closer = (measured["adam_merge"].residual < measured["mean"].residual).sum()
    better = (np.abs(measured["adam_merge"].loss - truth) < np.abs(measured["mean"].loss - truth)).sum()
    print(f"\nadam_merge is closer for {closer} mixtures, its loss for {better} of {truth.size} with targets")


def pooled(x: Floats, y: Floats) -> float:
    """Correlation of what is left after each target's mean."""
    return pearson((x - x.mean(0)).ravel(), (y - y.mean(0)).ravel())


def by_target(x: Floats, y: Floats, of: Callable[[Floats, Floats], float]) -> float:
    """Mean over targets."""
    return float(np.mean([of(x[:, t], y[:, t]) for t in range(x.shape[1])]))


def pearson(x: Floats, y: Floats) -> float:
    """Pearson's correlation."""
    return float(np.corrcoef(x, y)[0, 1])


def rank(x: Floats, y: Floats) -> float:
    """Spearman's correlation."""
    return float(spearmanr(x, y).statistic)


def regret(x: Floats, y: Floats) -> float:
    """What the pick loses to the best, over the range."""
    return float((y[x.argmin()] - y.min()) / np.ptp(y))


if __name__ == "__main__":
    main()
