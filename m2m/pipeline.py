"""Merge to Mix from data to answer: steps over one run folder, each doing only what is not there yet."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from torch import nn

from m2m import run_folder, setups, worker
from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.manifest import read_manifest
from m2m.config import RunConfig
from m2m.data import cache_dir
from m2m.errors import ConfigError, InputError
from m2m.evaluate import Scores, TargetScorer, most_similar, score_model
from m2m.executors import Executor, LocalProcesses, Serial
from m2m.mixture import Mixture, all_subsets
from m2m.run_folder import RunFolder
from m2m.searching import Exhaustive, Objective, Subsets
from m2m.setups.protocol import Progress, Setup, load_state
from m2m.surrogate import ScoreTable, content_key
from m2m.threads import one_thread
from m2m.version import __version__
from m2m.worker import Merge, Task, Train

#: Above this many datasets 2^N − 1 candidates are no longer "every subset".
MOST_DATASETS = 12


def run(
    config: RunConfig, out: Path, *, workers: int | None = None, progress: Progress | None = None
) -> RunFolder:
    """Find the best mixture of the configuration's datasets for its target (Merge to Mix, arXiv 2505.16066).

    Experts → every subset merged and scored on validation → the pick → one real training on it → test scores
    beside the baselines; with `validate`, every subset really trained as well. What a folder already holds is
    not done again, so a killed run goes on where it was and ends in the same results.

    Args:
        config: The run configuration.
        out: The run folder; made if need be.
        workers: Local worker processes, one thread each; 1 works in this process. None: one a core.
        progress: Called with (done, total, step).

    Returns:
        The folder, with `results.json` and `scores.csv` written.
    """
    run_folder.check(out, config)
    setup = _load_setup(config, progress)
    _check_names(config, setup)
    with run_folder.claim(out, config) as folder, ScoreTable(folder.table) as table, one_thread():
        steps = _Steps(config, setup, folder, table, workers or os.cpu_count() or 1, progress or _silent)
        folder.write_results(steps.all())
        table.export_csv(folder.csv)
    return folder


def _content(checkpoint: Path) -> str:
    """Return the hash of a checkpoint's bytes, from its manifest."""
    files = read_manifest(checkpoint)["files"]
    return content_key([(name, entry["sha256"]) for name, entry in sorted(files.items())])


def _load_setup(config: RunConfig, progress: Progress | None) -> Setup:
    try:
        return setups.load(config.setup, config.root, cache_dir(), progress)
    except InputError as error:
        raise type(error)(f"{config.path}: {error}") from error


def _silent(done: int, total: int, step: str) -> None:
    """Report progress to nobody."""


def _check_names(config: RunConfig, setup: Setup) -> None:
    for name in (config.run.target, *config.run.fidelity):
        if name not in setup.targets:
            raise ConfigError(
                f"{config.path} [run]: no target {name!r}; the set-up has {list(setup.targets)}"
            )
    if not 2 <= len(setup.datasets) <= MOST_DATASETS:
        raise ConfigError(
            f"{config.path} [setup]: got {len(setup.datasets)} datasets; scoring every subset wants "
            f"2 to {MOST_DATASETS}"
        )


@dataclass
class _Steps:
    """The steps of one run and what they share."""

    config: RunConfig
    setup: Setup
    folder: RunFolder
    table: ScoreTable
    workers: int
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        run = self.config.run
        self.datasets = list(self.setup.datasets)
        self.subsets = all_subsets(self.datasets)
        self.experts = self.subsets[: len(self.datasets)]
        targets = run.fidelity or tuple(self.setup.targets)
        self.validation: tuple[Task, ...] = tuple(
            (t, "validation") for t in dict.fromkeys((run.target, *targets))
        )
        self.metric, self.higher_is_better = next(iter(self.setup.metrics.items()))
        self.seconds = self.folder.read_results().get("seconds", {})

    def all(self) -> dict[str, Any]:
        """Return the content of `results.json`, having taken every step in order."""
        self.base()
        with self.timed("experts"):
            self.train(self.experts, [self.config.run.seed], self.validation, "experts")
        with self.timed("surrogate"):
            self.merge()
        chosen = self.choose()
        if self.config.run.validate:
            with self.timed("truth"):
                self.truth()
            chosen["oracle"] = self.best("trained")
        with self.timed("test"):
            test = self.test(chosen)
        return self.results(chosen, test)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the block's wall seconds to the step's; a resumed run adds up."""
        start = time.monotonic()
        yield
        self.seconds[step] = round(self.seconds.get(step, 0.0) + time.monotonic() - start, 3)

    def base(self) -> None:
        """Make θ₀ and score it."""
        with self.timed("base"):
            if not self.folder.base.exists():
                save(self.setup.base_state(cache_dir(), self.progress), self.folder.base, {"mixture": "base"})
            tasks = (*self.validation, (self.config.run.target, "test"))
            key = self.trained_key(self.folder.base)
            missing = [task for task in tasks if not self.scored(key, task)]
            scorers = [TargetScorer(self.setup, target, split) for target, split in missing]
            self.record(None, "base", None, key, missing, score_model(self.base_model(), scorers))

    def base_model(self) -> nn.Module:
        """Return a live module with θ₀ in it."""
        return load_state(self.setup.build(), Checkpoint(self.folder.base).state())

    def train(
        self, mixtures: Sequence[Mixture], seeds: Sequence[int], tasks: tuple[Task, ...], step: str
    ) -> None:
        """Train the mixtures that are not trained, and score them where they are not scored."""
        jobs = []
        for seed, mixture in product(seeds, mixtures):
            folder = self.folder.model(mixture, seed)
            key = self.trained_key(folder) if folder.exists() else None
            missing = tuple(task for task in tasks if key is None or not self.scored(key, task))
            if missing:
                jobs.append(Train(mixture, seed, self.config.train, folder, missing))
        for job, scores in self.execute(jobs, step, spread=any(not job.folder.exists() for job in jobs)):
            self.record(job.mixture, "trained", job.seed, self.trained_key(job.folder), job.tasks, scores)

    def merge(self) -> None:
        """Score every subset's merged model on validation."""
        experts = tuple(self.folder.model(mixture, self.config.run.seed) for mixture in self.experts)
        hashes = [_content(folder) for folder in experts]
        jobs, keys = [], {}
        for mixture in self.subsets:
            key = content_key("merged", _content(self.folder.base), hashes, mixture.weights)
            missing = tuple(task for task in self.validation if not self.scored(key, task))
            if missing:
                jobs.append(Merge(mixture, experts, missing))
                keys[mixture.key] = key
        for job, scores in self.execute(jobs, "merged candidates", spread=True):
            self.record(job.mixture, "merged", None, keys[job.mixture.key], job.tasks, scores)

    def choose(self) -> dict[str, Mixture]:
        """Return the pick by the surrogate, and the baselines' choices."""
        target = self.setup.targets[self.config.run.target].validation
        similar = most_similar(self.setup, self.base_model(), self.setup.datasets, target)
        return {
            "picked": self.best("merged"),
            "all": self.subsets[-1],
            "similarity": Mixture.subset(self.datasets, similar),
            "random": random.Random(self.config.run.seed).choice(self.subsets),
        }

    def best(self, origin: str) -> Mixture:
        """Return the subset whose model of this origin scores best on the target's validation split."""
        scores = self.scores(origin, "validation")
        objective = Objective(lambda mixture: scores[mixture.label], self.higher_is_better)
        return (
            Exhaustive()
            .search(objective, Subsets(self.datasets), len(self.subsets), self.config.run.seed)
            .best
        )

    def truth(self) -> None:
        """Really train every subset, with every truth seed."""
        first = self.config.run.seed
        seeds = range(first, first + self.config.run.truth_seeds)
        self.train(self.subsets, seeds, self.validation, "trained mixtures")

    def test(self, chosen: Mapping[str, Mixture]) -> dict[str, float]:
        """Return test scores of the chosen mixtures, each really trained once."""
        unique = list({mixture.key: mixture for mixture in chosen.values()}.values())
        tasks = ((self.config.run.target, "validation"), (self.config.run.target, "test"))
        self.train(unique, [self.config.run.seed], tasks, "chosen mixtures")
        scores = self.scores("trained", "test")
        [base] = self.scores("base", "test").values()
        return {"base": base} | {name: scores[mixture.label] for name, mixture in chosen.items()}

    def results(self, chosen: Mapping[str, Mixture], test: Mapping[str, float]) -> dict[str, Any]:
        """Return `results.json`; fidelity is added by whoever analyses the table."""
        trained = self.scores("trained", "validation")
        [base] = self.scores("base", "validation").values()
        return {
            "m2m": __version__,
            "target": self.config.run.target,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "datasets": self.datasets,
            **{name: list(mixture.members) for name, mixture in chosen.items()},
            "test": dict(test),
            "validation": {"base": base} | {name: trained[mixture.label] for name, mixture in chosen.items()},
            "fidelity": {},
            "seconds": self.seconds,
            "recipe": asdict(self.config.train),
            "seed": self.config.run.seed,
        }

    def execute(self, jobs: Sequence[Any], step: str, *, spread: bool) -> Iterator[tuple[Any, list[Scores]]]:
        """Return jobs' scores as they come: from workers, or from here where starting them takes longer.

        Yields:
            A job and its scores.
        """
        if not jobs:
            return
        workers = min(self.workers, len(jobs)) if spread else 1
        executor: Executor = LocalProcesses(workers) if workers > 1 else Serial()
        arguments = (self.config.setup, self.config.root, cache_dir(), self.folder.base)
        results = executor.run(worker.work, jobs, initializer=worker.prepare, initargs=arguments)
        self.progress(0, len(jobs), step)
        for done, (index, scores) in enumerate(results, start=1):
            self.progress(done, len(jobs), step)
            yield jobs[index], scores

    def trained_key(self, folder: Path) -> str:
        """Return the content key of a checkpoint that is scored as it is."""
        return content_key("trained", _content(folder))

    def scored(self, key: str, task: Task) -> bool:
        """Return whether the table has a model's scores on a task."""
        return self.table.has(key, *task, self.setup.version)

    def record(
        self,
        mixture: Mixture | None,
        origin: str,
        seed: int | None,
        key: str,
        tasks: Sequence[Task],
        scores: Sequence[Scores],
    ) -> None:
        """Write a model's scores to the table."""
        for (target, split), score in zip(tasks, scores, strict=True):
            self.table.add(
                key, mixture, origin, seed, target, split, self.setup.version, score, self.setup.metrics
            )

    def scores(self, origin: str, split: str) -> dict[str, float]:
        """Return the headline metric on the target by candidate label."""
        seed = self.config.run.seed if origin == "trained" else None
        rows = self.table.rows(
            origin=origin, split=split, task=self.config.run.target, metric=self.metric, seed=seed
        )
        return {row.candidate: row.value for row in rows}
