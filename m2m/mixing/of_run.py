"""MergeMix from a run configuration's data to λ*: experts, the search, and real trainings if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from m2m.executors.choice import open_executor
from m2m.executors.protocol import Executor
from m2m.mixing.anchored import anchors, standing_for
from m2m.mixing.problem import Problem
from m2m.mixing.procedure import MixSearch
from m2m.mixing.result import MixResult
from m2m.mixing.surface import WeightedTarget
from m2m.mixture import Mixture, weight_matrix
from m2m.pipeline import claiming
from m2m.pipeline.before_training import check_before_training
from m2m.pipeline.config import RunConfig
from m2m.pipeline.crew import WHOLE
from m2m.pipeline.data_read import note_data
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.steps import RunSteps, load_setup
from m2m.predicting import PairCorrection
from m2m.scoring import Means
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats
from m2m.support.devices import one_thread
from m2m.support.progress import Progress, nobody


def mix(
    config: RunConfig,
    out: Path,
    *,
    train: bool = False,
    workers: int | None = None,
    executor: str | Executor = "local",
    means: Means | None = None,
    progress: Progress | None = None,
) -> MixResult:
    """Find the best shares of the configuration's datasets (MergeMix, arXiv 2601.17858, Sec. 3).

    Experts → merged models of starting mixtures, scored on every target → a fitted surface each →
    argmax of the utility and mean of the top k → real merges of both → λ* = α*, with intervals from
    resampling. With `pairs` in the configuration's `[mix]` every pair of datasets is trained too, and all
    merged scores are corrected by what that adds (Scheffé's quadratic, `m2m.predicting.PairCorrection`);
    with `anchor` below 1 experts see some of all data (`m2m.mixing.anchored`).
    Experts, merged scores and trainings that the folder already holds are not made again, so a killed run
    goes on where it was. A folder of `m2m run` serves, and is left as that run made it.

    Args:
        config: The run configuration; its `[mix]` table says how to search.
        out: The run folder; made if need be. Results go to `out/mix`.
        train: Whether models are really trained on λ* and on equal shares, and scored.
        workers: Worker processes, one thread each; None: one a core, or all that a Ray cluster has.
        executor: Where they are, as `open_executor` has it.
        means: In which way candidates are scored, and what all workers together may use; None: whole models
            on the CPU, in half of the memory that is free.
        progress: Called with (done, total, step).

    Returns:
        What was found; also written.
    """
    claiming.check(out, config)
    targets = load_setup(config, progress)
    problem, contents = Problem.of(config, targets), targets.contents
    check_before_training(config, targets.setup, RunFolder(out))
    with claiming.claim(out, config, contents) as folder, one_thread():
        folder.mix.mkdir(exist_ok=True)
        experts = anchors(list(targets.setup.datasets), config.mix.anchor)
        folder = note_data(folder, targets, contents, config.train, progress or nobody, experts)
        with ScoreTable(folder.mix / "scores.sqlite") as table:
            steps = _RunSteps(
                config, targets, contents, folder, table, open_executor(executor, workers),
                progress or nobody, means or WHOLE, problem=problem,
            )  # fmt: skip
            result = steps.all(train=train)
        result.write()
    return result


@dataclass(kw_only=True)
class _RunSteps(RunSteps):
    """The steps of MergeMix that train, and where its scores come from: a run folder."""

    problem: Problem

    def __post_init__(self) -> None:
        self.seed = self.config.run.seed
        self.tasks = tuple((target.name, "validation") for target in self.problem.targets)

    @property
    def experts(self) -> list[Mixture]:
        """What the experts are trained on."""
        return anchors(self.datasets, self.config.mix.anchor)

    def all(self, *, train: bool) -> MixResult:
        """Return the outcome, having taken every step in order."""
        self.base(self.tasks)
        with self.timed("experts"):
            self.train(self.experts, [self.seed], (), "experts")
        pairs = self.pair_corrections() if self.config.mix.pairs else {}
        search = MixSearch(self.problem, self.config.mix, self.seed, self, self.progress, pairs)
        notes = self.folder.notes
        if self.config.mix.anchor != 1 and self.config.train.save_moments:
            notes += ("save_moments keeps those of plain experts: anchored ones have none",)
        found = search.find(self.folder.mix, identity=self.config.identity, notes=notes)
        trained = self.trained(found.mixture) if train else {}
        return replace(found, trained=trained, seconds=self.seconds)

    def pair_corrections(self) -> dict[str, PairCorrection]:
        """Train every pair of datasets, and return what that adds to its merged model's scores, by target."""
        pairs = [Mixture.subset(self.datasets, members) for members in combinations(self.datasets, 2)]
        with self.timed("pairs"):
            self.train(pairs, [self.seed], self.tasks, "trained pairs")
            merged = self.merged_scores(pairs, "merged pairs")
        points = np.array(weight_matrix(pairs))
        keys = [self.trained_key(self.folder.model(pair, self.seed)) for pair in pairs]
        trained = self.scores_of(keys)
        return {
            name: PairCorrection.through(self.datasets, points, trained[name] - merged[name])
            for name in merged
        }

    def merged_scores(self, mixtures: Sequence[Mixture], step: str) -> dict[str, Floats]:
        """Return every example's score of every merged model, by target: each [M, E]."""
        weights = [standing_for(mixture, self.config.mix.anchor) for mixture in mixtures]
        return self.scores_of(self.merge(weights, self.tasks, step))

    def scores_of(self, keys: Sequence[str]) -> dict[str, Floats]:
        """Return every example's score on validation of the models of these keys, by target: each [M, E]."""
        return {
            target.name: np.stack(
                [self.examples(key, target.name, "validation", target.metric) for key in keys]
            )
            for target in self.problem.targets
        }

    def base_score(self, target: WeightedTarget) -> float:
        """Return the base model's own score."""
        key = self.trained_key(self.folder.base)
        return float(self.examples(key, target.name, "validation", target.metric).mean())

    def examples(self, key: str, task: str, split: str, metric: str) -> Floats:
        """Return every example's score of one model: [E]."""
        version = self.targets.version(task)
        [row] = self.table.rows(key=key, task=task, split=split, version=version, metric=metric)
        return row.examples

    def trained(self, chosen: Mixture) -> dict[str, dict[str, dict[str, float]]]:
        """Return scores of models really trained on λ* and on equal shares, by target and split."""
        named = {"chosen": chosen, "equal": Mixture.subset(self.datasets, self.datasets)}
        splits = ("validation", "test")
        tasks = tuple((target.name, split) for target in self.problem.targets for split in splits)
        with self.timed("training"):
            self.train(list(named.values()), [self.seed], tasks, "trained mixtures")
        scores: dict[str, dict[str, dict[str, float]]] = {}
        for who, mixture in named.items():
            key = self.trained_key(self.folder.model(mixture, self.seed))
            scores[who] = {
                target.name: {
                    split: float(self.examples(key, target.name, split, target.metric).mean())
                    for split in splits
                }
                for target in self.problem.targets
            }
        return scores
