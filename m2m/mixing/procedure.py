"""MergeMix once there are experts: starting mixtures, surfaces, fine search, a real merge, doubts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from m2m.mixing.problem import Problem
from m2m.mixing.result import MixResult, ScoredMixture, TargetFit
from m2m.mixing.surface import (
    MixtureUncertainty,
    NormalisedUtility,
    Resampling,
    Surface,
    WeightedTarget,
    fit_predictors,
)
from m2m.mixture import Mixture, weight_matrix
from m2m.pipeline.mix_options import MixOptions
from m2m.predicting import PairCorrection, Predictor, spearman
from m2m.searching.simplex_optimum import fine_search, spread
from m2m.support.arrays import Floats
from m2m.support.progress import Progress


class MixScores(Protocol):
    """Where scores of merged models come from, and who times the steps."""

    def merged_scores(self, mixtures: Sequence[Mixture], step: str) -> dict[str, Floats]:
        """Return every example's score of every merged model, by target: each [M, E]."""

    def base_score(self, target: WeightedTarget) -> float:
        """Return the base model's own score."""

    def timed(self, step: str) -> AbstractContextManager[None]:
        """Add the block's wall seconds to the step's."""


@dataclass
class MixSearch:
    """The search for λ* on the simplex (MergeMix, arXiv 2601.17858, Sec. 3).

    Attributes:
        problem: What is looked for.
        options: How.
        seed: Decides all random choices.
        scores: Where merged models' scores come from.
        progress: Called with (done, total, step).
        corrections: What trained pairs add to every example's merged score, by target; empty without pairs.
        names: The targets' names.
    """

    problem: Problem
    options: MixOptions
    seed: int
    scores: MixScores
    progress: Progress
    corrections: Mapping[str, PairCorrection] = field(default_factory=dict)
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = [target.name for target in self.problem.targets]

    def find(self, folder: Path, *, identity: str, notes: tuple[str, ...] = ()) -> MixResult:
        """Return λ* and all that is known of it; nothing is trained, and no seconds are noted."""
        starts = [start.mixture for start in self.problem.starts]
        with self.scores.timed("starts"):
            scores = self.corrected(starts, "merged starting mixtures")
        with self.scores.timed("surfaces"):
            points = np.array([mixture.weights for mixture in starts])
            predictors = fit_predictors(
                self.problem.targets, points, scores, self.options.regressor, self.options.folds,
                self.seed, self.progress,
            )  # fmt: skip
        with self.scores.timed("search"):
            surface, proposed, looked_at = self.propose(predictors, scores)
        with self.scores.timed("verification"):
            checked = self.corrected(list(proposed.values()), "verified merges")
        held_out = np.column_stack([predictor.held_out(points) for predictor in predictors])
        foreseen = surface.scores(np.array([mixture.weights for mixture in proposed.values()]))
        kinds = [start.kind for start in self.problem.starts]
        known = self.candidates(kinds, starts, held_out, scores, surface.utility)
        new = self.candidates(list(proposed), list(proposed.values()), foreseen, checked, surface.utility)
        chosen = self.choose([*known, *new], surface)
        with self.scores.timed("resamples"):
            uncertainty = self.doubt(chosen, points, scores, predictors, looked_at)
        return MixResult(
            folder=folder,
            chosen=chosen,
            candidates=(*known, *new),
            fits=self.fits(chosen, predictors),
            spearman=spearman(surface.utility.of(held_out), np.array([c.utility for c in known])),
            uncertainty=uncertainty,
            trained={},
            seconds={},
            options=asdict(self.options),
            seed=self.seed,
            identity=identity,
            notes=notes,
        )

    def corrected(self, mixtures: Sequence[Mixture], step: str) -> dict[str, Floats]:
        """Return every example's merged score with what pairs add to it, by target: each [M, E]."""
        scores, points = self.scores.merged_scores(mixtures, step), np.array(weight_matrix(mixtures))
        return scores | {name: scores[name] + pairs.at(points) for name, pairs in self.corrections.items()}

    def propose(
        self, predictors: Sequence[Predictor], scores: Mapping[str, Floats]
    ) -> tuple[Surface, dict[str, Mixture], Floats]:
        """Return the surfaces, what they propose, and where the search looked first."""
        means = np.column_stack([scores[name].mean(1) for name in self.names])
        utility = NormalisedUtility.over(self.problem.targets, means)
        surface = Surface([predictor.fitted for predictor in predictors], utility)
        generator, space = np.random.default_rng([self.seed, 1]), self.problem.space
        looked_at = spread(space, self.options.points, generator)
        found = fine_search(surface.utilities, space, looked_at, generator)
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
        utilities = np.column_stack([utility.of(predicted), utility.of(measured)])
        points = np.array(weight_matrix(mixtures))
        added = {name: pairs.at(points).mean(1).tolist() for name, pairs in self.corrections.items()}
        return [
            ScoredMixture(
                kind,
                mixture,
                dict(zip(self.names, predicted[m].tolist(), strict=True)),
                dict(zip(self.names, measured[m].tolist(), strict=True)),
                utility_predicted=float(utilities[m, 0]),
                utility=float(utilities[m, 1]),
                correction={name: corrections[m] for name, corrections in added.items()},
            )
            for m, (kind, mixture) in enumerate(zip(kinds, mixtures, strict=True))
        ]

    def choose(self, candidates: Sequence[ScoredMixture], surface: Surface) -> ScoredMixture:
        """Return λ*; a starting mixture's prediction is then that of the fit to all of them."""
        if self.options.pick != "best":
            return next(c for c in candidates if c.kind == self.options.pick)
        best = max(candidates, key=lambda c: c.utility - self.problem.space.penalty(c.mixture))
        if best.kind in ("argmax", "top"):
            return best
        point = np.array([best.mixture.weights])
        predicted = dict(zip(self.names, surface.scores(point)[0].tolist(), strict=True))
        return replace(best, predicted=predicted, utility_predicted=float(surface.utilities(point)[0]))

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
        point = np.array([chosen.mixture.weights])
        fits = []
        for target, predictor in zip(self.problem.targets, predictors, strict=True):
            at = predictor.predict(point)
            interval = (float(at.low[0]), float(at.high[0]))
            about = predictor.name, predictor.weights, predictor.spearman
            fits.append(TargetFit(target, *about, interval, self.scores.base_score(target), predictor.notes))
        return tuple(fits)
