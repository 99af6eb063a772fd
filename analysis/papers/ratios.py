"""MergeMix on one set-up: ratios chosen by merged models, beside really trained ones.

The search is that of `m2m mix`: 40 merged starting mixtures, scored on all targets. The truth is drawn evenly
from the simplex, each ratio trained with two seeds. Whatever is chosen in whatever way is then trained with
seeds that chose nothing, and scored on test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.curvature import study as curvature
from analysis.orthogonality import study as orthogonality
from analysis.papers.corrected import ANCHOR
from analysis.papers.cost import cost_of_search
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.half_way import half_way
from analysis.papers.ratio_bench import RatioBench, Wanted
from analysis.papers.ratio_choices import MERGEMIX, TRIALS, Judge, general, specialists
from analysis.papers.ratio_corrections import SHARES, anchored_ranks, anchors_told, corrected_scores, pairs_of
from analysis.papers.ratio_fidelity import MERGED, free_scores, line_curves, on_the_line, ranking
from analysis.papers.ratio_search import Outline, RatioSearch, SizedRatios, search_text
from analysis.papers.surfaces import SMOOTH
from analysis.papers.two_levels import by_the_prior, two_levels
from analysis.results import provenance, write_results
from analysis.trained_run import open_run
from m2m.mixing.anchored import anchors
from m2m.mixing.problem import grid
from m2m.mixture import Mixture
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part

#: Shares of the map of the simplex are in steps of one over this.
_MAPPED = 16


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
    def models(self) -> str:
        """Its own run's."""
        return self.name

    @property
    def minutes(self) -> dict[Size, float]:
        """About how long it takes, by size."""
        return {size: sized.minutes for size, sized in self.sizes.items()}

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        sized, numbers = self.sizes[size], [self.truth_seeds, self.fresh_seeds, ANCHOR, *SHARES]
        asked, text = json.dumps(asdict(self.outline)), self.text(size)
        return [sized.model, sized.data, text, sized.content, asked, sized.drawn, sized.curved, *numbers]

    def text(self, size: Size) -> str:
        """Return the configuration."""
        return search_text(self.outline, self.sizes[size])

    def run(self, place: Place, size: Size) -> RatioSearch:
        """Search, or go on with its search, wherever it was begun: other experiments study the same models.

        Args:
            place: Where any experiment works.
            size: How large.

        Returns:
            The search.
        """
        own = replace(place, work=place.work.parent / self.name)
        return RatioSearch.made(self.outline, self.sizes[size], own, size)

    def anchored(self, place: Place, size: Size) -> RatioSearch:
        """Search on anchored experts, of which MergeMix knows nothing.

        Args:
            place: Where the experiment works.
            size: How large.

        Returns:
            The search.
        """
        sized = self.sizes[size]
        changed = replace(sized, changes={**sized.changes, "mix.anchor": ANCHOR})
        return RatioSearch.made(self.outline, changed, place, f"{size}-anchored")

    def truth(self, search: RatioSearch) -> Floats:
        """Return validation scores of the drawn ratios, really trained. [S, M, T]."""
        seeds = range(search.bench.seed, search.bench.seed + self.truth_seeds)
        return search.bench.trained(search.drawn, seeds, "mixtures on the simplex")

    def judge(self, search: RatioSearch, chosen: Sequence[Mixture]) -> Judge:
        """Train what was chosen with seeds that chose nothing, and return who says how good it is."""
        bench, first = search.bench, search.bench.seed + self.truth_seeds
        fresh = range(first, first + self.fresh_seeds)
        return Judge.of(bench, search.capabilities, fresh, bench.base_scores("test"), chosen)

    def measure(self, place: Place, size: Size) -> Found:
        """Search, train the truth and what was chosen; see `Experiment.measure`."""
        search = self.run(place, size)
        study = _RatioStudy(self, search, self.anchored(place, size).found)
        _write_geometry(search.bench, place.results, self.sizes[size].curved)
        return study.found()


@dataclass(frozen=True)
class _RatioStudy:
    """One search with all that is asked of it."""

    asked: RatioTruth
    search: RatioSearch
    #: What the search on anchored experts chose.
    anchored: Mixture

    def found(self) -> Found:
        """Ask all of it."""
        search, outline = self.search, self.asked.outline
        bench = search.bench
        self.train_truth()
        points, fidelity, trained, table = self.fidelity()
        common = search.capabilities, outline.ends, self.asked.fresh_seeds, search.base
        line = line_curves(bench, *common)
        ranks = self.anchored_ranks(trained)
        content = {
            "about": {"model": search.sized.model, "data": search.sized.data},
            "sizes": self.numbers(),
            "datasets": list(bench.datasets),
            "capabilities": {name: list(targets) for name, targets in outline.groups.items()},
            "ends": list(outline.ends),
            "two_groups": [list(half) for half in outline.halves],
            "search": {"spearman": search.result.spearman, "kind": search.result.chosen.kind},
            "fidelity": fidelity,
            "anchors": anchors_told(ranks),
            **self.choices(points, trained[0]),
            "cost": self.cost(),
        }
        tables = {"drawn": table, "line": line, "map": self.map(), "anchored": ranks}
        return Found(content, tables)

    def train_truth(self) -> None:
        """Train all that no choice decides, in one go."""
        asked, search = self.asked, self.search
        bench, outline = search.bench, asked.outline
        seeds = range(bench.seed, bench.seed + max(asked.truth_seeds, asked.fresh_seeds))
        bench.train(
            [
                Wanted(search.drawn, seeds[: asked.truth_seeds], "validation"),
                Wanted(on_the_line(bench, outline.ends), seeds[: asked.fresh_seeds], "validation"),
                Wanted(pairs_of(bench), seeds[:1], "validation"),
                *(Wanted(anchors(bench.datasets, share), seeds[: asked.fresh_seeds]) for share in SHARES),
                Wanted(by_the_prior(bench.datasets, outline.halves, outline.prior), seeds[:1]),
            ],
            "mixtures on the simplex and on the line",
        )

    def numbers(self) -> dict[str, int]:
        """Return how large it was."""
        recipe, search = self.search.bench.recipe, self.search
        return {
            "steps": recipe.steps,
            "batch": recipe.batch,
            "starting_mixtures": len(search.starts),
            "trained_ratios": search.sized.drawn,
            "pairs": len(pairs_of(self.search.bench)),
            "truth_seeds": self.asked.truth_seeds,
            "fresh_seeds": self.asked.fresh_seeds,
        }

    def fidelity(self) -> tuple[Floats, dict[str, Any], Floats, pd.DataFrame]:
        """Merge and train drawn ratios: their weights, agreement, trained scores, and a table of both."""
        search, bench = self.search, self.search.bench
        capabilities, base = search.capabilities, search.base
        points = np.array([mixture.weights for mixture in search.drawn])
        merged = bench.merged(search.drawn, bench.experts(bench.seed), "merges on the simplex")
        trained = self.asked.truth(search)
        predicted = {
            name: np.column_stack([model.predict(points) for model in one.models])
            for name, one in search.surfaces.items()
        }
        corrected = corrected_scores(bench, search.drawn, search.alone)
        surrogates = {MERGED: merged, **predicted, **corrected, **free_scores(points, search.alone)}
        found = ranking(capabilities, surrogates, trained, base, bench.seed)
        table = pd.concat(
            [
                pd.DataFrame(
                    {
                        "utility": name,
                        "mixture": [mixture.label for mixture in search.drawn],
                        "merged": capabilities.of(name, merged, base),
                        "trained": capabilities.of(name, trained.mean(0), base),
                    }
                )
                for name in capabilities.names
            ]
        )
        return points, found, trained, table

    def anchored_ranks(self, trained: Floats) -> pd.DataFrame:
        """Rank the drawn ratios by more and less anchored experts of every seed of the line."""
        search, bench = self.search, self.search.bench
        seeds = range(bench.seed, bench.seed + self.asked.fresh_seeds)
        return anchored_ranks(bench, search.capabilities, seeds, trained.mean(0), search.base, search.drawn)

    def choices(self, points: Floats, trained: Floats) -> dict[str, Any]:
        """Choose in every way, and train what was chosen."""
        search, bench = self.search, self.search.bench
        capabilities, base, outline = search.capabilities, search.base, self.asked.outline
        for_all = {**general(search, points, trained), "anchored": self.anchored}
        for_one = specialists(search.surfaces[SMOOTH], bench.datasets, search.alone)
        levels = two_levels(bench, capabilities, base, outline.halves, outline.prior)
        after, halves = half_way(bench, capabilities, base, search.found, search.starts)
        of_one = [mixture for ways in for_one.values() for mixture in ways.values()]
        judge = self.asked.judge(search, [*for_all.values(), *levels.values(), *of_one])
        going_on = Judge.of(after, capabilities, judge.seeds, judge.base, list(halves.values()))
        return {
            "choice": judge.says(for_all, MERGEMIX),
            "specialists": {name: judge.says(ways, MERGEMIX) for name, ways in for_one.items()},
            "levels": judge.says({**levels, "flat": search.found}, "manual, manual"),
            "halves": going_on.says(halves, "kept"),
        }

    def cost(self) -> dict[str, Any]:
        """Count what choosing takes in forwards, the training on what is chosen left out."""
        experts = len(self.search.bench.datasets)
        return cost_of_search(
            self.search.bench,
            {
                MERGEMIX: (experts, len(self.search.result.candidates)),
                "best_member": (experts, experts),
                "regmix": (TRIALS, TRIALS),
                "best_of_trials": (TRIALS, TRIALS),
            },
        )

    def map(self) -> pd.DataFrame:
        """Predict every utility over the whole simplex: a row a ratio."""
        search = self.search
        points, surface = np.array(list(grid(len(search.bench.datasets), _MAPPED))), search.surfaces[SMOOTH]
        shares = pd.DataFrame(points, columns=pd.Index(search.bench.datasets)).add_prefix("share of ")
        return shares.assign(**{name: surface.utility(name, points) for name in search.capabilities.names})


def _write_geometry(bench: RatioBench, results: Path, examples: int) -> None:
    """Write γ and the cosines of task vectors, as their own verbs do."""
    run = open_run(bench.models.root, examples)
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
