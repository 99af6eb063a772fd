"""Merge to Mix from data to answer: steps over one run folder, each doing only what is not there yet."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError, RunFolderError
from m2m.executors.choice import open_executor
from m2m.executors.protocol import Executor
from m2m.mixture import Mixture, all_subsets
from m2m.pipeline import claiming
from m2m.pipeline.advice import Adviser, Evidence
from m2m.pipeline.before_training import check_before_training
from m2m.pipeline.best_merged import Part, best_merged
from m2m.pipeline.candidates import searched
from m2m.pipeline.config import RunConfig
from m2m.pipeline.crew import WHOLE
from m2m.pipeline.data_read import note_data
from m2m.pipeline.first_look import check_targets
from m2m.pipeline.growth import growth
from m2m.pipeline.kept_embeddings import KeptEmbeddings
from m2m.pipeline.provenance import checkpoint_key
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.search_budget import search_budget
from m2m.pipeline.steps import RunSteps, load_setup
from m2m.pipeline.target_utility import METRIC, TargetUtility
from m2m.pipeline.validation import Validation
from m2m.pipeline.worker import Task
from m2m.scoring import Means, Targets, most_similar, similarities
from m2m.scoring.table import ScoreRow, ScoreTable
from m2m.searching import Exhaustive, MixtureList, Objective, Subsets
from m2m.support.devices import one_thread
from m2m.support.progress import Progress, nobody
from m2m.version import __version__


def run(
    config: RunConfig,
    out: Path,
    *,
    workers: int | None = None,
    executor: str | Executor = "local",
    means: Means | None = None,
    progress: Progress | None = None,
    adviser: Callable[[RunFolder], Adviser] | None = None,
) -> RunFolder:
    """Find the best mixture of the configuration's datasets for its target (Merge to Mix, arXiv 2505.16066).

    Experts → every subset merged and scored on validation → the pick → one real training on it → test scores
    beside the baselines. With `validate` every subset, or some on advice, is really trained as well, and the
    pick becomes the best of what was trained. Where several targets have weights, all scores but theirs are
    the utility of `TargetUtility`. What a folder already holds is not done again, so a killed run goes on
    where it was and ends in the same results.

    Args:
        config: The run configuration.
        out: The run folder; made if need be.
        workers: Worker processes, one thread each; None: one a core, or all that a Ray cluster has.
        executor: Where they are, as `open_executor` has it.
        means: In which way candidates are scored, and what all workers together may use; None: whole models
            on the CPU, in half of the memory that is free.
        progress: Called with (done, total, step).
        adviser: Makes who says which mixtures to train; needed where some are.

    Returns:
        The folder, with `results.json` and `scores.csv` written.

    Raises:
        ConfigError: If some mixtures are to be trained and nobody says which.
    """
    if config.run.trains_some and adviser is None:
        raise ConfigError("which mixtures to train is said by an adviser, and there is none: m2m.run has one")
    claiming.check(out, config, growing=True)
    targets = checked_targets(config, RunFolder(out), progress)
    contents, grown = targets.contents, growth(RunFolder(out), config, targets, progress)
    claimed = claiming.claim(out, config, contents, grown)
    with claimed as folder, ScoreTable(folder.table) as table, one_thread():
        for before in folder.grew:
            for earlier, now in targets.versions_since(before["version"]).items():
                table.take_over(earlier, now)
        folder = note_data(folder, targets, contents, config.train, progress or nobody)
        steps = _Steps(
            config, targets, contents, folder, table, open_executor(executor, workers), progress or nobody,
            means or WHOLE,
        )  # fmt: skip
        if adviser is not None:
            steps.adviser = adviser(folder)
        folder.write_results(steps.all())
        table.export_csv(folder.csv)
    return folder


def checked_targets(config: RunConfig, folder: RunFolder | None, progress: Progress | None) -> Targets:
    """Load a configuration's set-up and targets, and hold `[run]` and `[train]` against them."""
    targets = load_setup(config, progress)
    check_targets(config, targets.names)
    search_budget(config, len(targets.setup.datasets))
    check_before_training(config, targets.setup, folder)
    return targets


class _Scores(dict[str, float]):
    """Scores by candidate; all that the steps ask for were made by the steps before, and are in the table."""

    def __init__(self, table: Path, scores: Mapping[str, float]) -> None:
        super().__init__(scores)
        self._table = table

    def __missing__(self, candidate: str) -> float:
        raise RunFolderError(
            f"{self._table} lost the score of {candidate!r}: rows were changed or taken away; "
            "delete the file, scores are made again"
        )


@dataclass
class _Steps(RunSteps):
    """The steps of Merge to Mix."""

    adviser: Adviser | None = None

    def __post_init__(self) -> None:
        run = self.config.run
        self.space = Subsets(self.datasets)
        self.budget = search_budget(self.config, len(self.datasets))
        self.candidates: list[Mixture] = all_subsets(self.datasets) if self.budget is None else []
        targets = run.fidelity or tuple(self.targets.names)
        self.validation: tuple[Task, ...] = tuple(
            (t, "validation") for t in dict.fromkeys((*run.weights, *targets))
        )
        self.opened: tuple[Task, ...] = tuple((target, "test") for target in run.weights)
        self.similarities: dict[str, dict[str, float]] = {}
        self.seconds = self.folder.read_seconds()

    def all(self) -> dict[str, Any]:
        """Return the content of `results.json`, having taken every step in order."""
        self.base((*self.validation, *self.opened))
        with self.timed("experts"):
            self.train(self.experts, [self.config.run.seed], self.validation, "experts")
        with self.timed("surrogate"):
            if self.budget is None:
                self.merge(self.candidates, self.validation, "merged candidates")
            else:
                self.candidates = searched(
                    self, self.validation, self.budget, lambda: self.scores("merged", "validation"),
                    lambda: self.decides[1],
                )  # fmt: skip
        if self.budget is None:  # else the pick may yet be one of the baselines
            picked = self.best("merged", self.candidates)
            with self.timed("test"):
                self.test({"picked": picked}, f"the pick, {picked.shown}")
        chosen, found = self.choose(), dict[str, Any]()
        if self.config.run.trains_all:
            with self.timed("truth"):
                self.truth()
            chosen["oracle"] = self.best("trained", self.candidates)
        elif self.adviser is not None and self.config.run.trains_some:
            with self.timed("truth"):
                found["trust"] = self.advised(chosen, self.adviser)
        if self.config.run.trains_all or found:
            after, found["why"] = self.after_trainings(chosen["picked"])
            chosen = {"picked": chosen.pop("picked"), "picked_after_trainings": after, **chosen}
        with self.timed("test"):
            test = self.test(chosen, "chosen mixtures")
        return self.results(chosen, test) | found

    def choose(self) -> dict[str, Mixture]:
        """Return the pick by the surrogate, and the baselines' choices where they are wanted."""
        baselines = self.baselines() if self.config.run.has_baselines else {}
        # A search need not have asked for them.
        there = {mixture.key for mixture in self.candidates}
        others = [mixture for mixture in _distinct(baselines) if mixture.key not in there]
        self.merge(others, self.validation, "merged baselines")
        self.candidates += others
        return {"picked": self.best("merged", self.candidates), **baselines}

    def baselines(self) -> dict[str, Mixture]:
        """Return what the pick is compared with: all datasets, the most similar ones, a random subset."""
        # What a task judges has no examples that the set-up could embed.
        known = {n: self.setup.targets[n].validation for n, _ in self.validation if n in self.setup.targets}
        kept, similar = (
            KeptEmbeddings(self.folder.embeddings, checkpoint_key(self.folder.base), self.contents),
            {},
        )
        if known:
            with self.timed("similarity"):
                self.similarities = similarities(
                    self.setup, self.base_model, self.setup.datasets, known, kept, self.progress
                )
        if self.config.run.weights.keys() <= self.similarities.keys():
            similar["similarity"] = Mixture.subset(self.datasets, most_similar(self.similarity()))
        return {
            "all": Mixture.subset(self.datasets, self.datasets),
            **similar,
            "random": self.space.sample(random.Random(self.config.run.seed)),
        }

    def similarity(self) -> dict[str, float]:
        """Return how similar each dataset is to what the run chooses for: the targets' weighted mean."""
        weights = self.config.run.weights
        return {
            name: sum(weight * self.similarities[target][name] for target, weight in weights.items())
            for name in self.datasets
        }

    def best(self, origin: str, mixtures: Sequence[Mixture]) -> Mixture:
        """Return the mixture whose model of this origin scores best on validation."""
        scores = self.scores(origin, "validation")
        objective = Objective(lambda mixture: scores[mixture.label], self.decides[1])
        return Exhaustive().search(objective, MixtureList(mixtures), seed=self.config.run.seed).best.mixture

    def ties(self, picked: Mixture) -> int:
        """Return how many other mixtures' merged models have exactly the pick's score."""
        scores = self.scores("merged", "validation")
        return sum(scores[mixture.label] == scores[picked.label] for mixture in self.candidates) - 1

    def best_merged(self, picked: Mixture) -> list[dict[str, Any]]:
        """Return the best merged mixtures, and by how much the pick leads each."""
        parts = []
        for target in self.config.run.weights:
            rows = self.headline_rows(target, "merged", "validation")
            rate = 1.0 if self.utility is None else self.utility.rate(target)
            parts.append(Part(rate, {row.candidate: row.examples.tolist() for row in rows}))
        scores = self.scores("merged", "validation")
        return best_merged(picked, self.candidates, scores, parts, upwards=self.decides[1])

    def truth(self) -> None:
        """Really train every subset, with every truth seed."""
        first = self.config.run.seed
        seeds = range(first, first + self.config.run.truth_seeds)
        self.train(self.candidates, seeds, self.validation, "trained mixtures")

    def advised(self, chosen: Mapping[str, Mixture], adviser: Adviser) -> dict[str, Any]:
        """Train what is trained in any case, then on advice; return what that says about the pick."""
        self.train(_distinct(chosen), [self.config.run.seed], self.validation, "chosen mixtures")
        by_chance = [mixture for name, mixture in chosen.items() if name == "random"]
        # What a search scored is no space that the random subset was drawn from.
        given = [m for m in by_chance if self.budget is None and len(m.members) > 1]
        return Validation(self, adviser, self.evidence, self.candidates, given, self.validation).judged()

    def evidence(self) -> list[Evidence]:
        """Return the scores so far: of what the mixture is chosen for, then of each other target."""
        run, origins = self.config.run, ("merged", "trained")
        chosen_by = (self.scores(origin, "validation") for origin in origins)
        return [
            self._evidence(run.chosen_for, self.decides, *chosen_by),
            *(
                self._evidence(
                    target,
                    self.targets.headline(target),
                    *(self.target_scores(target, origin, "validation") for origin in origins),
                )
                for target, _ in self.validation
                if target != run.target
            ),
        ]

    def _evidence(
        self,
        target: str,
        decides: tuple[str, bool],
        merged: Mapping[str, float],
        trained: Mapping[str, float],
    ) -> Evidence:
        by_mixture = {mixture: merged[mixture.label] for mixture in self.candidates}
        return Evidence(target, *decides, by_mixture, trained)

    def after_trainings(self, picked: Mixture) -> tuple[Mixture, str]:
        """Return the best of all trained mixtures, and why it is or is not the one that merging picked."""
        scores = self.scores("trained", "validation")
        trained = [mixture for mixture in self.candidates if mixture.label in scores]
        best = self.best("trained", trained)
        beside = f"of {len(trained)} trained mixtures, single datasets among them,"
        if best == picked:
            return best, f"{beside} none scores better on validation than the one that merging picked"
        return best, (
            f"{beside} {best.label} scores best on validation: {scores[best.label]:.4g}; {picked.label}, "
            f"which merging picked, has {scores[picked.label]:.4g}"
        )

    def test(self, chosen: Mapping[str, Mixture], step: str) -> dict[str, float]:
        """Return test scores of the chosen mixtures, each really trained once."""
        tasks = tuple((target, "validation") for target in self.config.run.weights)
        self.train(_distinct(chosen), [self.config.run.seed], (*tasks, *self.opened), step)
        scores = self.scores("trained", "test")
        base = self.scores("base", "test")["base"]
        return {"base": base} | {name: scores[mixture.label] for name, mixture in chosen.items()}

    def results(self, chosen: Mapping[str, Mixture], test: Mapping[str, float]) -> dict[str, Any]:
        """Return `results.json`; fidelity is added by whoever analyses the table."""
        trained = self.scores("trained", "validation")
        base = self.scores("base", "validation")["base"]
        metric, upwards = self.decides
        counted: dict[str, Any] = {}
        if self.utility is not None or self.targets.judged:
            counted["metrics"] = {name: self.headline_json(name) for name, _ in self.validation}
        if self.utility is not None:
            splits = {split: self.by_target(chosen, split) for split in ("test", "validation")}
            counted[METRIC] = self.utility.to_json() | splits
        return {
            "m2m": __version__,
            "target": self.config.run.chosen_for,
            "metric": metric,
            "higher_is_better": upwards,
            **counted,
            "datasets": self.datasets,
            "candidates": {"scored": len(self.candidates), "of": self.space.count},
            **({"grew": self.folder.grew} if self.folder.grew else {}),
            **{name: list(mixture.members) for name, mixture in chosen.items()},
            "test": dict(test),
            "validation": {"base": base} | {name: trained[mixture.label] for name, mixture in chosen.items()},
            "ties": self.ties(chosen["picked"]),
            "best_merged": self.best_merged(chosen["picked"]),
            "fidelity": {},
            "similarities": self.similarities,
            "seconds": self.seconds,
            "recipe": self.config.train.deciding,
            "seed": self.config.run.seed,
        }

    def headline_json(self, target: str) -> dict[str, Any]:
        """Return which metric decides on a target, as in `results.json`."""
        return dict(zip(("metric", "higher_is_better"), self.targets.headline(target), strict=True))

    @property
    def decides(self) -> tuple[str, bool]:
        """What is chosen by, the target's headline metric or the utility, and whether higher is better."""
        if self.utility is not None:
            return METRIC, True
        return self.targets.headline(next(iter(self.config.run.weights)))

    def by_target(self, chosen: Mapping[str, Mixture], split: str) -> dict[str, dict[str, float]]:
        """Return the chosen mixtures' trained scores, and the base model's, on each target that counts."""
        found = {}
        for target in self.config.run.weights:
            trained = self.target_scores(target, "trained", split)
            base = self.target_scores(target, "base", split)["base"]
            found[target] = {"base": base} | {name: trained[m.label] for name, m in chosen.items()}
        return found

    @cached_property
    def utility(self) -> TargetUtility | None:
        """What is chosen for where several targets count, once all candidates are merged; None for one.

        A search chooses by it before it has them: there scales are those of the single datasets.
        """
        weights = self.config.run.weights
        if len(weights) == 1:
            return None
        merged = {t: self.target_scores(t, "merged", "validation") for t in weights}
        if self.budget is not None:
            merged = {t: {one.label: of[one.label] for one in self.experts} for t, of in merged.items()}
        of_all = {t: of.values() for t, of in merged.items()}
        return TargetUtility.over(weights, of_all, {t: self.targets.headline(t)[1] for t in weights})

    def scores(self, origin: str, split: str) -> dict[str, float]:
        """Return what is chosen by, the target's headline metric or the targets' utility, by candidate."""
        scores = {target: self.target_scores(target, origin, split) for target in self.config.run.weights}
        if self.utility is None:
            return next(iter(scores.values()))
        utility, base = self.utility, {t: self.target_scores(t, "base", split)["base"] for t in scores}
        everywhere = [
            name for name in next(iter(scores.values())) if all(name in of for of in scores.values())
        ]
        return _Scores(
            self.table.path,
            {name: utility.of({t: of[name] for t, of in scores.items()}, base) for name in everywhere},
        )

    def target_scores(self, target: str, origin: str, split: str) -> dict[str, float]:
        """Return the headline metric on one target by candidate label."""
        rows = self.headline_rows(target, origin, split)
        return _Scores(self.table.path, {row.candidate: row.value for row in rows})

    def headline_rows(self, target: str, origin: str, split: str) -> list[ScoreRow]:
        """Return the rows of the headline metric on one target."""
        seed = self.config.run.seed if origin == "trained" else None
        return self.table.rows(
            origin=origin, split=split, task=target, metric=self.targets.headline(target)[0], seed=seed,
            version=self.targets.version(target),
        )  # fmt: skip


def _distinct(chosen: Mapping[str, Mixture]) -> list[Mixture]:
    return list({mixture.key: mixture for mixture in chosen.values()}.values())
