"""MergeMix on one set-up: ratios chosen by merged models, beside really trained ones.

The search is that of `m2m mix`: 40 merged starting mixtures, scored on all targets. The truth is drawn evenly
from the simplex, each ratio trained with two seeds. Whatever is chosen in whatever way is then trained with
seeds that chose nothing, and scored on test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.curvature import study as curvature
from analysis.orthogonality import study as orthogonality
from analysis.papers.capabilities import Capabilities, Groups, target_weights
from analysis.papers.configuration import Changes, Sized, changed_text, written
from analysis.papers.cost import TRAINING
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.half_way import half_way
from analysis.papers.ratio_bench import RatioBench, Wanted
from analysis.papers.ratio_choices import MERGEMIX, TRIALS, Judge, general, specialists
from analysis.papers.ratio_fidelity import MERGED, free_scores, line_curves, on_the_line, ranking
from analysis.papers.surfaces import SMOOTH, SURFACES, Surfaces
from analysis.papers.two_levels import by_the_prior, two_levels
from analysis.results import provenance, write_results
from analysis.trained_run import open_run
from m2m import mixing
from m2m.mixing import MixResult
from m2m.mixing.problem import grid
from m2m.searching import Simplex
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part

#: Shares of the map of the simplex are in steps of one over this.
_MAPPED = 16


@dataclass(frozen=True)
class SizedRatios(Sized):
    """What the experiment runs at one size.

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


@dataclass(frozen=True)
class RatioTruth:
    """The experiment.

    Attributes:
        name: Its name.
        outline: What is asked.
        sizes: What it runs, by size.
        truth_seeds: Training seeds of the drawn ratios.
        fresh_seeds: Seeds with which the line and what was chosen are trained.
    """

    name: str
    outline: Outline
    sizes: Mapping[Size, SizedRatios]
    truth_seeds: int = 2
    fresh_seeds: int = 3

    @property
    def minutes(self) -> dict[Size, float]:
        """About how long it takes, by size."""
        return {size: sized.minutes for size, sized in self.sizes.items()}

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        sized, numbers = self.sizes[size], [self.truth_seeds, self.fresh_seeds]
        asked = json.dumps(asdict(self.outline))
        return [sized.model, sized.data, self.text(size), asked, sized.drawn, sized.curved, *numbers]

    def text(self, size: Size) -> str:
        """Return the configuration."""
        search: Changes = {
            "mix.capabilities": target_weights(self.outline.groups),
            "mix.caps": None,
            "mix.regressor": SMOOTH,
            "mix.bootstrap": 0,
        }
        return changed_text(self.sizes[size].example, {**search, **self.sizes[size].changes})

    def measure(self, place: Place, size: Size) -> Found:
        """Search, train the truth and what was chosen; see `Experiment.measure`."""
        config = written(self.text(size), place.work / f"{size}.toml")
        # Other changes make another run: the folder is named by what it is made from.
        root = place.work / f"{size}-{config.identity[:16]}"
        result = mixing.mix(config, root, workers=place.workers, progress=place.progress)
        bench = RatioBench.of_run(root, config, list(target_weights(self.outline.groups)), place)
        study = _RatioStudy(self, self.sizes[size], bench, result)
        _write_geometry(root, bench, place.results, self.sizes[size].curved)
        return study.found()


@dataclass
class _RatioStudy:
    """One search with all that is asked of it."""

    asked: RatioTruth
    sized: SizedRatios
    bench: RatioBench
    result: MixResult

    def __post_init__(self) -> None:
        bench, starts = self.bench, [c for c in self.result.candidates if c.kind not in ("argmax", "top")]
        signs = np.array([1 if bench.targets.headline(name)[1] else -1 for name in bench.names])
        self.starts = np.array([start.mixture.weights for start in starts])
        scores = signs * np.array([[start.measured[name] for name in bench.names] for start in starts])
        self.base = bench.base_scores("validation")
        self.capabilities = Capabilities.over(self.asked.outline.groups, scores)
        common = self.capabilities, self.base, bench.seed
        self.surfaces = {name: Surfaces.fitted(name, self.starts, scores, *common) for name in SURFACES}
        self.alone = bench.merged(bench.singles, bench.experts(bench.seed), "experts' scores")
        space, generator = Simplex(bench.datasets), np.random.default_rng([bench.seed, 2])
        rows = generator.dirichlet(np.ones(len(bench.datasets)), self.sized.drawn)
        self.drawn = [space.mixture(row) for row in rows]

    def found(self) -> Found:
        """Ask all of it."""
        outline, bench = self.asked.outline, self.bench
        self.train_truth()
        points, fidelity, trained, table = self.fidelity()
        line = line_curves(bench, self.capabilities, outline.ends, self.asked.fresh_seeds, self.base)
        content = {
            "about": {"model": self.sized.model, "data": self.sized.data},
            "sizes": self.numbers(),
            "datasets": list(bench.datasets),
            "capabilities": {name: list(targets) for name, targets in outline.groups.items()},
            "ends": list(outline.ends),
            "two_groups": [list(half) for half in outline.halves],
            "search": {"spearman": self.result.spearman, "kind": self.result.chosen.kind},
            "fidelity": fidelity,
            **self.choices(points, trained[0]),
            "cost": self.cost(),
        }
        return Found(content, {"drawn": table, "line": line, "map": self.map()})

    def train_truth(self) -> None:
        """Train all that no choice decides, in one go."""
        asked, bench = self.asked, self.bench
        seeds = range(bench.seed, bench.seed + max(asked.truth_seeds, asked.fresh_seeds))
        line, outline = on_the_line(bench, asked.outline.ends), asked.outline
        groups = by_the_prior(bench.datasets, outline.halves, outline.prior)
        bench.train(
            [
                Wanted(self.drawn, seeds[: asked.truth_seeds], "validation"),
                Wanted(line, seeds[: asked.fresh_seeds], "validation"),
                Wanted(bench.singles, seeds[: asked.fresh_seeds]),
                Wanted(groups, seeds[:1]),
            ],
            "mixtures on the simplex and on the line",
        )

    def numbers(self) -> dict[str, int]:
        """Return how large it was."""
        return {
            "steps": self.bench.recipe.steps,
            "batch": self.bench.recipe.batch,
            "starting_mixtures": len(self.starts),
            "trained_ratios": self.sized.drawn,
            "truth_seeds": self.asked.truth_seeds,
            "fresh_seeds": self.asked.fresh_seeds,
        }

    def fidelity(self) -> tuple[Floats, dict[str, Any], Floats, pd.DataFrame]:
        """Merge and train drawn ratios: their weights, agreement, trained scores, and a table of both."""
        bench, capabilities, base = self.bench, self.capabilities, self.base
        mixtures = self.drawn
        points = np.array([mixture.weights for mixture in mixtures])
        merged = bench.merged(mixtures, bench.experts(bench.seed), "merges on the simplex")
        seeds = range(bench.seed, bench.seed + self.asked.truth_seeds)
        trained = bench.trained(mixtures, seeds, "mixtures on the simplex")
        predicted = {
            name: np.column_stack([model.predict(points) for model in one.models])
            for name, one in self.surfaces.items()
        }
        surrogates = {MERGED: merged, **predicted, **free_scores(points, self.alone)}
        found = ranking(capabilities, surrogates, trained, base, bench.seed)
        table = pd.concat(
            [
                pd.DataFrame(
                    {
                        "utility": name,
                        "mixture": [mixture.label for mixture in mixtures],
                        "merged": capabilities.of(name, merged, base),
                        "trained": capabilities.of(name, trained.mean(0), base),
                    }
                )
                for name in capabilities.names
            ]
        )
        return points, found, trained, table

    def choices(self, points: Floats, trained: Floats) -> dict[str, Any]:
        """Choose in every way, and train what was chosen."""
        bench, capabilities, base, asked = self.bench, self.capabilities, self.base, self.asked
        first = bench.seed + asked.truth_seeds
        judge = Judge(bench, capabilities, range(first, first + asked.fresh_seeds), bench.base_scores("test"))
        found, outline = self.result.mixture, asked.outline
        for_all = general(self.surfaces, found, outline.prior, points, trained, self.alone)
        for_one = specialists(self.surfaces[SMOOTH], bench.datasets, self.alone)
        levels = two_levels(bench, capabilities, base, outline.halves, outline.prior)
        after, halves = half_way(bench, capabilities, base, found, self.starts)
        chosen = [
            *for_all.values(),
            *levels.values(),
            *(m for ways in for_one.values() for m in ways.values()),
        ]
        bench.train([Wanted(chosen, judge.seeds, "test")], "all that was chosen")
        going_on = Judge(after, capabilities, judge.seeds, judge.base)
        return {
            "choice": judge.of(for_all, MERGEMIX, "chosen ratios"),
            "specialists": {
                name: judge.of(ways, MERGEMIX, f"specialists in {name}") for name, ways in for_one.items()
            },
            "levels": judge.of({**levels, "flat": found}, "manual, manual", "ratios on two levels"),
            "halves": going_on.of(halves, "kept", "from half way"),
        }

    def cost(self) -> dict[str, Any]:
        """Count what choosing takes in forwards, the training on what is chosen left out."""
        bench, recipe = self.bench, self.bench.recipe
        training = TRAINING * recipe.steps * recipe.batch
        scoring = sum(bench.targets.count(name, "validation") for name in bench.names)
        ways = {
            MERGEMIX: (len(bench.datasets), len(self.result.candidates)),
            "best_member": (len(bench.datasets), len(bench.datasets)),
            "regmix": (TRIALS, TRIALS),
            "best_of_trials": (TRIALS, TRIALS),
        }
        return {
            "training": training,
            "examples": scoring,
            "by": {
                name: {
                    "trainings": trainings,
                    "scored": scored,
                    "forwards": trainings * training + scored * scoring,
                }
                for name, (trainings, scored) in ways.items()
            },
        }

    def map(self) -> pd.DataFrame:
        """Predict every utility over the whole simplex: a row a ratio."""
        points, surface = np.array(list(grid(len(self.bench.datasets), _MAPPED))), self.surfaces[SMOOTH]
        shares = pd.DataFrame(points, columns=pd.Index(self.bench.datasets)).add_prefix("share of ")
        return shares.assign(**{name: surface.utility(name, points) for name in self.capabilities.names})


def _write_geometry(root: Path, bench: RatioBench, results: Path, examples: int) -> None:
    """Write γ and the cosines of task vectors, as their own verbs do."""
    run = open_run(root, examples)
    curved = curvature.of_run(run, bench.names[0])
    write_results(
        results,
        curvature.NAME,
        curvature.to_json(curved) | {"source": provenance(run)},
        curvature.to_tables(curved),
        curvature.REASONS,
    )
    lying = orthogonality.orthogonality(
        bench.models.base, bench.experts(bench.seed), names=bench.datasets, threads=1, seed=bench.seed
    )
    write_results(
        results,
        orthogonality.NAME,
        orthogonality.to_json(lying) | {"source": provenance(run)},
        orthogonality.to_tables(lying),
        orthogonality.REASONS,
    )
