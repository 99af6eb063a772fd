"""Searches among merged models, one target a worker: all of a target's searches share one table of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from m2m.data import cache_dir
from m2m.executors.news import tell
from m2m.executors.protocol import Executor
from m2m.mixture import MergingWeights, Mixture
from m2m.scoring import Means, ScoreSource, Targets, load_targets, model_state, score_model, verified_models
from m2m.scoring.bench import setup_bench
from m2m.scoring.kept_scores import KeptScores
from m2m.searching import DEFAULT, Objective, SearchResult, Subsets, search
from m2m.setups.protocol import load_state
from m2m.support.arrays import Floats
from m2m.support.devices import one_thread
from m2m.support.progress import Progress

#: The strategies that are compared, and those of them that have chance in them.
STRATEGIES = (DEFAULT, "greedy", "annealing", "random")
BY_CHANCE = (DEFAULT, "annealing", "random")
#: A search with so many times the budget stands for the best there is.
LONGER = 5


@dataclass(frozen=True)
class Search:
    """One search: a strategy of `m2m.searching`, how many merged models it may score, and its seed."""

    strategy: str
    budget: int
    seed: int


@dataclass(frozen=True)
class Budget:
    """How much is searched for a target.

    Attributes:
        evaluations: Merged models that a search may score.
        seeds: Seeds of each strategy that has chance in it.
    """

    evaluations: int
    seeds: int

    @property
    def longest(self) -> Search:
        """The search that stands for the best there is; its seed is no other search's."""
        return Search(DEFAULT, LONGER * self.evaluations, self.seeds)

    def of(self, strategy: str) -> list[Search]:
        """Return a strategy's searches, a seed each."""
        seeds = self.seeds if strategy in BY_CHANCE else 1
        return [Search(strategy, self.evaluations, seed) for seed in range(seeds)]

    @property
    def searches(self) -> tuple[Search, ...]:
        """All searches for a target."""
        return (*(one for name in STRATEGIES for one in self.of(name)), self.longest)


@dataclass(frozen=True)
class Hunt:
    """All searches for one target."""

    target: str
    searches: tuple[Search, ...]
    #: Checkpoint folders of θ₀, and of the experts by dataset.
    base: Path
    experts: Mapping[str, Path]
    #: Where scores are kept, so that no merged model is scored twice.
    table: Path


@dataclass(frozen=True)
class Tried:
    """What one search tried, in order.

    Attributes:
        mixtures: The mixtures. [M]
        gains: How much better than the base model their merges score on validation. [M]
    """

    mixtures: tuple[Mixture, ...]
    gains: Floats

    @property
    def pick(self) -> Mixture:
        """The mixture with the best gain, the first to have it."""
        return self.mixtures[int(np.argmax(self.gains))]

    @property
    def best_so_far(self) -> Floats:
        """The best gain after each evaluation. [M]."""
        return np.maximum.accumulate(self.gains)


@dataclass(frozen=True)
class Hunted:
    """What a target's searches found.

    Attributes:
        base: The base model's test score, higher is better.
        tried: What each search tried.
    """

    base: float
    tried: Mapping[Search, Tried]

    @cached_property
    def found(self) -> dict[str, tuple[float, Mixture]]:
        """Every mixture that any search tried, by key, with its gain."""
        return {
            mixture.key: (float(gain), mixture)
            for tried in self.tried.values()
            for mixture, gain in zip(tried.mixtures, tried.gains, strict=True)
        }

    @property
    def best_known(self) -> tuple[float, Mixture]:
        """The best gain that any search found, and its mixture."""
        return max(self.found.values(), key=lambda pair: pair[0])


def hunted(
    hunts: Sequence[Hunt], spec: Mapping[str, Any], root: Path, executor: Executor, progress: Progress
) -> dict[str, Hunted]:
    """Do the searches, a target a worker.

    Args:
        hunts: A target each. [T]
        spec: The configuration's `[setup]` table.
        root: Folder that its relative paths start from.
        executor: Where they are done.
        progress: Called with (done, total, what), in merged models tried.

    Returns:
        What was found, by target.
    """
    sizes = [sum(one.budget for one in hunt.searches) for hunt in hunts]
    done = dict.fromkeys(range(len(hunts)), 0)

    def told(number: int, tried: int) -> None:
        done[number] = tried
        progress(sum(done.values()), sum(sizes), "mixtures tried")

    found: dict[str, Hunted] = {}
    with one_thread():
        results = executor.run(_hunt, hunts, initializer=_prepare, initargs=(spec, root), told=told)
        for number, result in results:
            told(number, sizes[number])
            found[hunts[number].target] = result
    return {hunt.target: found[hunt.target] for hunt in hunts}


_known: Targets | None = None


def _prepare(spec: Mapping[str, Any], root: Path) -> None:
    global _known
    _known = load_targets(spec, root, cache_dir())


def _hunt(job: Hunt) -> Hunted:
    assert _known is not None
    metric, upwards = _known.headline(job.target)
    sign = 1.0 if upwards else -1.0
    bench, space = setup_bench(_known, [job.target]), Subsets(list(job.experts))
    with (
        verified_models(job.base, job.experts) as models,
        ScoreSource(models, bench, Means("resident")) as source,
    ):
        kept, asked = KeptScores(source, job.table), count(1)

        def score(mixture: MergingWeights) -> float:
            tell(next(asked))
            return kept.row(mixture, job.target, metric).value

        objective = Objective(score, upwards, prepare=kept.prepare)
        start = kept.base_row(job.target, metric).value
        tried = {
            one: _tried(search(objective, space, one.strategy, one.budget, one.seed), sign, start)
            for one in job.searches
        }
    return Hunted(sign * _of_base(job, metric), tried)


def _tried(result: SearchResult, sign: float, start: float) -> Tried:
    gains = np.array([sign * (evaluation.value - start) for evaluation in result.trajectory])
    return Tried(tuple(evaluation.mixture.mixture for evaluation in result.trajectory), gains)


def _of_base(job: Hunt, metric: str) -> float:
    assert _known is not None
    model = load_state(_known.setup.build(), model_state(job.base, job.base))
    [scores] = score_model(model, [_known.scorer(job.target, "test")])
    return scores.mean(metric)
