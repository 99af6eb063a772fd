"""Sweeps of several mixtures of one run over step sizes and horizons, a mixture a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.error_bound import study as bounds
from analysis.error_bound.sweep import SWEEPING
from analysis.trained_run import open_run
from m2m.executors.news import tell
from m2m.executors.protocol import Executor
from m2m.mixture import Mixture
from m2m.support.devices import one_thread
from m2m.support.progress import Progress

#: Recipes of one mixture's sweeps.
_RECIPES = len(bounds.RATES) + len(bounds.HORIZONS) + len(bounds.OWN_RATES)


@dataclass(frozen=True)
class Sweep:
    """One mixture's sweeps.

    Attributes:
        root: The run folder.
        examples: Examples of a dataset, every one of them in every step.
        mixture: The mixture, by its label.
        target: The target whose loss is looked at.
    """

    root: Path
    examples: int
    mixture: str
    target: str


def swept(sweeps: Sequence[Sweep], executor: Executor, progress: Progress) -> list[bounds.BoundStudy]:
    """Do the sweeps. [S].

    One thread computes each, with workers and without, so that both find the same bits.

    Args:
        sweeps: A mixture each. [S]
        executor: Where they are done.
        progress: Called with (done, total, what), in recipes.

    Returns:
        What each found, in their order.
    """
    done = dict.fromkeys(range(len(sweeps)), 0)

    def told(number: int, recipes: float) -> None:
        done[number] = int(recipes)
        progress(sum(done.values()), _RECIPES * len(sweeps), "step sizes and horizons of mixtures")

    with one_thread():
        found = dict(executor.run(_sweep, sweeps, told=told))
    return [found[number] for number in range(len(sweeps))]


def _sweep(job: Sweep) -> bounds.BoundStudy:
    run = open_run(job.root, job.examples)
    ended = 0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal ended
        if what == SWEEPING:
            tell(ended + done)
            ended += total if done == total else 0

    return bounds.of_run(run, Mixture.parse(job.mixture, run.datasets), job.target, progress)
