"""What a search maximises: a utility of the tasks' scores; a race for it, and a prior of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from m2m.errors import ConfigError, InputError
from m2m.scoring import RacedObjective
from m2m.searching import Objective, QuadraticPrior, Utility
from m2m.support.arguments import argument
from m2m.support.doors import read_json
from m2m.support.schema import did_you_mean
from m2m.verbs.search.source import Asked, Source

#: What is taken out of the file.
_CURVATURE = {
    "datasets": [str],
    "quadratic": {"constant": float, "slope": [float], "curvature": [[float]], "target": str},
}


def utility_of(asked: Asked, source: Source) -> Utility:
    """Return what is to be maximised: the tasks by their weights, within limits."""
    tasks = list(source.higher_is_better)
    weights = dict(asked.weigh)
    if not weights and len(asked.targets) == 1 and asked.run is not None:
        weights = {asked.targets[0]: 1.0}
    if not weights:
        if len(tasks) > 1:
            raise ConfigError(
                f"there are several tasks, say {argument('weigh', 'TASK=WEIGHT')} with some of {tasks}"
            )
        weights = {tasks[0]: 1.0}
    for name in [*weights, *(limit.task for limit in asked.keep)]:
        if name not in tasks:
            raise ConfigError(f"no task {name!r}{did_you_mean(name, tasks)}; there are {tasks}")
    return Utility(source.scores, weights, source.higher_is_better, list(asked.keep), source.prepare)


@dataclass(frozen=True)
class Race:
    """A race under a search.

    Attributes:
        raced: What scores the mixtures, and counts.
        examples: Number of examples E of the task.
        higher_is_better: The score's direction.
    """

    raced: RacedObjective
    examples: int
    higher_is_better: bool

    @property
    def objective(self) -> Objective:
        """What the search sees: estimates with their standard errors."""
        return Objective(
            self.raced, self.higher_is_better, lambda mixture: self.raced.estimate(mixture).standard_error
        )

    @property
    def all_evaluations(self) -> int:
        """Example evaluations that scoring the same mixtures in full would take."""
        return self.examples * len(self.raced.estimates)


def open_race(source: Source, tasks: list[str], seed: int) -> Race:
    """Prepare a race."""
    if len(tasks) > 1:
        raise ConfigError(
            f"{argument('race', True)} compares mixtures on the examples of one task, got {tasks}: leave out "
            f"{argument('weigh')} and {argument('keep')}"
        )
    [task] = tasks
    if task not in source.counts:
        raise ConfigError(
            f"{argument('race', True)} needs a task that can be scored on some of its "
            f"examples; {task} gives all at once"
        )
    upwards = source.higher_is_better[task]
    raced = RacedObjective(
        partial(source.examples, task), source.counts[task], higher_is_better=upwards, seed=seed
    )
    return Race(raced, source.counts[task], upwards)


def read_prior(path: Path, source: Source, tasks: list[str]) -> QuadraticPrior:
    """Read a prior."""
    content: dict[str, Any] = read_json(
        path, "a curvature.json of `m2m-analysis curvature`", shape=_CURVATURE
    )
    names, quadratic = content["datasets"], content["quadratic"]
    if sorted(names) != sorted(source.datasets):
        raise InputError(f"{path} is about the datasets {names}, the search about {list(source.datasets)}")
    if tasks != [quadratic["target"]] or source.metrics[tasks[0]] != "loss":
        about = ", ".join(f"{source.metrics[task]} on {task}" for task in tasks)
        raise InputError(
            f"{path} describes the loss on {quadratic['target']}, the search is about {about}: search that "
            f"loss alone, or make another with `m2m-analysis curvature --target`"
        )
    order = [names.index(name) for name in source.datasets]
    try:
        slope = np.array(quadratic["slope"], dtype=float)
        curvature = np.array(quadratic["curvature"], dtype=float)
        prior = QuadraticPrior(float(quadratic["constant"]), slope, curvature)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return QuadraticPrior(prior.value, slope[order], curvature[np.ix_(order, order)])
