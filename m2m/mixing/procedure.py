"""MergeMix from data to λ*: experts, starting mixtures, surfaces, fine search, a real merge, doubts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from m2m.exporting import render
from m2m.mixing.problem import Problem
from m2m.mixing.result import MixResult, ScoredMixture, TargetFit
from m2m.mixing.surface import MixtureUncertainty, NormalisedUtility, Resampling, Surface, fit_predictors
from m2m.mixture import Mixture
from m2m.pipeline import run_folder
from m2m.pipeline.config import RunConfig
from m2m.pipeline.crew import WHOLE
from m2m.pipeline.steps import RunSteps, load_setup
from m2m.predicting import Predictor, spearman
from m2m.scoring import Means
from m2m.scoring.table import ScoreTable
from m2m.searching.simplex_optimum import fine_search, spread
from m2m.setups.protocol import contents_of
from m2m.support.arrays import Floats
from m2m.support.csv_tables import write_rows
from m2m.support.devices import one_thread
from m2m.support.files import write_atomically
from m2m.support.progress import Progress, nobody


def mix(
    config: RunConfig,
    out: Path,
    *,
    train: bool = False,
    workers: int | None = None,
    means: Means | None = None,
    progress: Progress | None = None,
) -> MixResult:
    """Find the best shares of the configuration's datasets (MergeMix, arXiv 2601.17858, Sec. 3).

    Experts → merged models of starting mixtures, scored on every target → a fitted surface each →
    argmax of the utility and mean of the top k → real merges of both → λ* = α*, with intervals from
    resampling. Experts, merged scores and trainings that the folder already holds are not made again, so a
    killed run goes on where it was. A folder of `m2m run` serves, and is left as that run made it.

    Args:
        config: The run configuration; its `[mix]` table says how to search.
        out: The run folder; made if need be. Results go to `out/mix`.
        train: Whether models are really trained on λ* and on equal shares, and scored.
        workers: Local worker processes, one thread each; 1 works in this process. None: one a core.
        means: In which way candidates are scored, and what all workers together may use; None: whole models
            on the CPU, in half of the memory that is free.
        progress: Called with (done, total, step).

    Returns:
        What was found; also written.
    """
    run_folder.check(out, config)
    setup = load_setup(config, progress)
    problem = Problem.of(config, setup)
    contents = contents_of(setup)
    with run_folder.claim(out, config, contents) as folder, one_thread():
        folder.mix.mkdir(exist_ok=True)
        with ScoreTable(folder.mix / "scores.sqlite") as table:
            steps = _Steps(
                config, setup, contents, folder, table, workers or os.cpu_count() or 1, progress or nobody,
                means or WHOLE, problem=problem,
            )  # fmt: skip
            result = steps.all(train=train)
        _write(result)
    return result


def _write(result: MixResult) -> None:
    write_rows(result.folder / "candidates.csv", *result.to_rows())
    write_atomically(result.folder / "mixture.json", render(result.mixture, "json"))
    text = json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(result.folder / "mix.json", text + "\n")


@dataclass(kw_only=True)
class _Steps(RunSteps):
    """The steps of MergeMix."""

    problem: Problem

    def __post_init__(self) -> None:
        self.options, self.seed = self.config.mix, self.config.run.seed
        self.names = [target.name for target in self.problem.targets]
        self.tasks = tuple((name, "validation") for name in self.names)

    def all(self, *, train: bool) -> MixResult:
        """Return the outcome, having taken every step in order."""
        self.base(self.tasks)
        with self.timed("experts"):
            self.train(self.experts, [self.seed], (), "experts")
        starts = [start.mixture for start in self.problem.starts]
        with self.timed("seeds"):
            scores = self.merged_scores(starts, "merged seeds")
        with self.timed("surfaces"):
            points = np.array([mixture.weights for mixture in starts])
            predictors = fit_predictors(
                self.problem.targets, points, scores, self.options.regressor, self.options.folds,
                self.seed, self.progress,
            )  # fmt: skip
        with self.timed("search"):
            surface, proposed, looked_at = self.propose(predictors, scores)
        with self.timed("verification"):
            checked = self.merged_scores(list(proposed.values()), "verified merges")
        held_out = np.column_stack([predictor.held_out(points) for predictor in predictors])
        foreseen = surface.scores(np.array([mixture.weights for mixture in proposed.values()]))
        kinds = [start.kind for start in self.problem.starts]
        known = self.candidates(kinds, starts, held_out, scores, surface.utility)
        new = self.candidates(list(proposed), list(proposed.values()), foreseen, checked, surface.utility)
        chosen = self.choose([*known, *new], surface)
        with self.timed("resamples"):
            uncertainty = self.doubt(chosen, points, scores, predictors, looked_at)
        return MixResult(
            folder=self.folder.mix,
            chosen=chosen,
            candidates=(*known, *new),
            fits=self.fits(chosen, predictors),
            spearman=spearman(surface.utility.of(held_out), np.array([c.worth for c in known])),
            uncertainty=uncertainty,
            trained=self.trained(chosen.mixture) if train else {},
            seconds=self.seconds,
            options=asdict(self.options),
            seed=self.seed,
            identity=self.config.identity,
            notes=self.folder.notes,
        )

    def merged_scores(self, mixtures: Sequence[Mixture], step: str) -> dict[str, Floats]:
        """Return every example's score of every merged model, by target: each [M, E]."""
        keys = self.merge(mixtures, self.tasks, step)
        return {
            target.name: np.stack(
                [self.examples(key, target.name, "validation", target.metric) for key in keys]
            )
            for target in self.problem.targets
        }

    def examples(self, key: str, task: str, split: str, metric: str) -> Floats:
        """Return every example's score of one model: [E]."""
        version = self.setup.version
        [row] = self.table.rows(key=key, task=task, split=split, version=version, metric=metric)
        return row.examples

    def propose(
        self, predictors: Sequence[Predictor], scores: Mapping[str, Floats]
    ) -> tuple[Surface, dict[str, Mixture], Floats]:
        """Return the surfaces, what they propose, and where the search looked first."""
        means = np.column_stack([scores[name].mean(1) for name in self.names])
        utility = NormalisedUtility.over(self.problem.targets, means)
        surface = Surface([predictor.fitted for predictor in predictors], utility)
        generator, space = np.random.default_rng([self.seed, 1]), self.problem.space
        looked_at = spread(space, self.options.points, generator)
        found = fine_search(surface.worth, space, looked_at, generator)
        top = space.nearest(found.mean_of_top(self.options.top_k))
        return surface, {"argmax": space.mixture(found.best), "top": space.mixture(top)}, looked_at

    def candidates(
        self,
        kinds: Sequence[str],
        mixtures: Sequence[Mixture],
        predicted: Floats,
        scores: Mapping[str, Floats],
        utility: NormalisedUtility,
    ) -> list[ScoredMixture]:
        """Return what was predicted and measured of each mixture."""
        measured = np.column_stack([scores[name].mean(1) for name in self.names])
        worth = np.column_stack([utility.of(predicted), utility.of(measured)])
        return [
            ScoredMixture(
                kind,
                mixture,
                dict(zip(self.names, predicted[m].tolist(), strict=True)),
                dict(zip(self.names, measured[m].tolist(), strict=True)),
                *worth[m].tolist(),
            )
            for m, (kind, mixture) in enumerate(zip(kinds, mixtures, strict=True))
        ]

    def choose(self, candidates: Sequence[ScoredMixture], surface: Surface) -> ScoredMixture:
        """Return λ*; a starting mixture's prediction is then that of the fit to all of them."""
        if self.options.pick != "best":
            return next(c for c in candidates if c.kind == self.options.pick)
        best = max(candidates, key=lambda c: c.worth - self.problem.space.penalty(c.mixture))
        if best.kind in ("argmax", "top"):
            return best
        point = np.array([best.mixture.weights])
        predicted = dict(zip(self.names, surface.scores(point)[0].tolist(), strict=True))
        return replace(best, predicted=predicted, worth_predicted=float(surface.worth(point)[0]))

    def doubt(
        self,
        chosen: ScoredMixture,
        points: Floats,
        scores: Mapping[str, Floats],
        predictors: Sequence[Predictor],
        looked_at: Floats,
    ) -> MixtureUncertainty | None:
        """Return how sure λ* is."""
        if not self.options.bootstrap:
            return None
        resampling = Resampling(
            self.problem.space, self.problem.targets, points, scores, predictors, self.options.folds,
            looked_at, self.seed,
        )  # fmt: skip
        top_k = self.options.top_k if chosen.kind == "top" else None
        weights = np.array(chosen.mixture.weights)
        return resampling.assess(weights, top_k, self.options.bootstrap, self.progress)

    def fits(self, chosen: ScoredMixture, predictors: Sequence[Predictor]) -> tuple[TargetFit, ...]:
        """Return what was fitted, and how far it may be off at λ*."""
        point, base = np.array([chosen.mixture.weights]), self.trained_key(self.folder.base)
        fits = []
        for target, predictor in zip(self.problem.targets, predictors, strict=True):
            at = predictor.predict(point)
            interval = (float(at.low[0]), float(at.high[0]))
            own = float(self.examples(base, target.name, "validation", target.metric).mean())
            about = predictor.name, predictor.weights, predictor.spearman
            fits.append(TargetFit(target, *about, interval, own, predictor.notes))
        return tuple(fits)

    def trained(self, chosen: Mixture) -> dict[str, dict[str, dict[str, float]]]:
        """Return scores of models really trained on λ* and on equal shares, by target and split."""
        named = {"chosen": chosen, "equal": Mixture.subset(self.datasets, self.datasets)}
        tasks = tuple((name, split) for name in self.names for split in ("validation", "test"))
        with self.timed("training"):
            self.train(list(named.values()), [self.seed], tasks, "trained mixtures")
        scores: dict[str, dict[str, dict[str, float]]] = {}
        for who, mixture in named.items():
            key = self.trained_key(self.folder.model(mixture, self.seed))
            scores[who] = {
                target.name: {
                    split: float(self.examples(key, target.name, split, target.metric).mean())
                    for split in ("validation", "test")
                }
                for target in self.problem.targets
            }
        return scores
