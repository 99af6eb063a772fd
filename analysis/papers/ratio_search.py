"""MergeMix's search on one set-up at one size, opened so that several experiments ask things of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.papers.capabilities import Capabilities, Groups, target_weights
from analysis.papers.configuration import Changes, Sized, changed_text, written
from analysis.papers.experiment import Place
from analysis.papers.ratio_bench import RatioBench
from analysis.papers.surfaces import SMOOTH, SURFACES, Surfaces
from m2m import mixing
from m2m.mixing import MixResult, ScoredMixture
from m2m.mixture import Mixture
from m2m.searching import Simplex
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class SizedRatios(Sized):
    """What is run at one size.

    Attributes:
        drawn: Ratios that are really trained to see how merging ranks them.
        curved: Examples of every dataset that curvature is measured on.
    """

    drawn: int = 24
    curved: int = 32


@dataclass(frozen=True)
class Outline:
    """What is asked of a set-up's datasets, at every size.

    Attributes:
        groups: The targets of each capability.
        ends: The two datasets of the line.
        prior: A ratio written down before anything was trained.
        halves: The two groups of datasets of a choice on two levels.
    """

    groups: Groups
    ends: tuple[str, str]
    prior: Mapping[str, float]
    halves: Sequence[Sequence[str]]


def search_text(outline: Outline, sized: SizedRatios) -> str:
    """Return the configuration of a search for all capabilities."""
    search: Changes = {
        "mix.capabilities": target_weights(outline.groups),
        "mix.caps": None,
        "mix.regressor": SMOOTH,
        "mix.bootstrap": 0,
    }
    return changed_text(sized.example, {**search, **sized.changes})


@dataclass(frozen=True)
class RatioSearch:
    """What `m2m mix` found, the surfaces that others would fit, and the ratios that the truth is drawn from.

    All scores are oriented so that higher is better.

    Attributes:
        outline: What is asked.
        sized: What was run.
        bench: Where models are trained, merged and scored.
        result: What was found.
    """

    outline: Outline
    sized: SizedRatios
    bench: RatioBench
    result: MixResult

    @classmethod
    def made(cls, outline: Outline, sized: SizedRatios, place: Place, name: str) -> RatioSearch:
        """Search, or go on with a search.

        Args:
            outline: What is asked.
            sized: What to run.
            place: Where to work.
            name: How the configuration and the run's folder are called.

        Returns:
            The search.
        """
        config = written(search_text(outline, sized), place.work / f"{name}.toml", sized.files)
        # Other changes make another run: the folder is named by what it is made from.
        root = place.work / f"{name}-{config.identity[:16]}"
        result = mixing.mix(config, root, executor=place.executor, progress=place.progress)
        bench = RatioBench.of_run(root, config, list(target_weights(outline.groups)), place)
        return cls(outline, sized, bench, result)

    @property
    def found(self) -> Mixture:
        """The ratio that MergeMix chose."""
        return self.result.mixture

    @cached_property
    def starts(self) -> Floats:
        """Weights of the merged starting mixtures. [M, N]."""
        return np.array([start.mixture.weights for start in self._started])

    @cached_property
    def scores(self) -> Floats:
        """Scores of the merged starting mixtures. [M, T]."""
        names, targets = self.bench.names, self.bench.targets
        signs = np.array([1 if targets.headline(name)[1] else -1 for name in names])
        scores: Floats = signs * np.array(
            [[start.measured[name] for name in names] for start in self._started]
        )
        return scores

    @property
    def _started(self) -> list[ScoredMixture]:
        return [one for one in self.result.candidates if one.kind not in ("argmax", "top")]

    @cached_property
    def base(self) -> Floats:
        """The base model's scores on validation. [T]."""
        return self.bench.base_scores("validation")

    @cached_property
    def capabilities(self) -> Capabilities:
        """The utilities, in ranges of the merged starting mixtures."""
        return Capabilities.over(self.outline.groups, self.scores)

    @cached_property
    def surfaces(self) -> dict[str, Surfaces]:
        """Surfaces fitted to the merged starting mixtures, by family."""
        common = self.capabilities, self.base, self.bench.seed
        return {name: Surfaces.fitted(name, self.starts, self.scores, *common) for name in SURFACES}

    @cached_property
    def alone(self) -> Floats:
        """The experts' scores. [N, T]."""
        bench = self.bench
        return bench.merged(bench.singles, bench.experts(bench.seed), "experts' scores")

    @cached_property
    def drawn(self) -> list[Mixture]:
        """Ratios drawn evenly from the simplex, the same for every model of the same datasets and seed."""
        generator = np.random.default_rng([self.bench.seed, 2])
        rows = generator.dirichlet(np.ones(len(self.bench.datasets)), self.sized.drawn)
        space = Simplex(self.bench.datasets)
        return [space.mixture(row) for row in rows]
