"""The report's sections with charts, each beside what says the same without drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from m2m.pipeline.report import charts as drawn
from m2m.pipeline.report.charts import Chart
from m2m.pipeline.report.evaluations import Evaluations, evaluations
from m2m.pipeline.report.geometry import Geometry, described
from m2m.pipeline.report.mixed import Mixed
from m2m.pipeline.report.page import chart, image, section, table
from m2m.pipeline.report.scored import ScoredTarget
from m2m.pipeline.report.simplex import Placed, simplex
from m2m.support.loss_curves import read_curves

#: Rows of a table that stands for a chart.
_ROWS = 12


@dataclass
class Charted:
    """The charts of a page, gathered while its sections are laid out.

    Attributes:
        figures: Where figures for paper lie.
        targets: What was scored, the target that decides first.
        geometry: How experts lie to each other.
        pick: Label of the mixture that merging picked, or that leads so far.
        called: What that is called.
        views: The charts so far, by name.
    """

    figures: Path
    targets: Mapping[str, ScoredTarget]
    geometry: Geometry
    pick: str
    called: str
    views: dict[str, Mapping[str, Chart]] = field(default_factory=dict)

    def candidates(self) -> str:
        """Lay out merged against trained scores, or merged scores alone."""
        charts = {
            name: drawn.candidates(target, self.geometry, self.pick, self.called)
            for name, target in self.targets.items()
        }
        views = {name: view for name, view in charts.items() if view}
        compared = any(drawn.compares_truth(target) for target in self.targets.values())
        caption = "A dot is a mixture: point at it for its name, scores, cosines and γ; a click keeps them."
        title = "Merged against trained" if compared else "Every mixture that was merged"
        still = image(self.figures, "fidelity_scatter", title) or image(self.figures, "trust", title)
        return self._section(title, "candidates", views, caption, still or self._best_merged())

    def regret(self, *, searched: bool) -> str:
        """Lay out regret over evaluations, as a chart and, without drawing, as a table."""
        found = {name: one for name, target in self.targets.items() if (one := evaluations(target))}
        views = {
            name: drawn.regret(one, self.targets[name], searched=searched) for name, one in found.items()
        }
        if not found:
            return ""
        first = next(iter(found.values()))
        what = (
            "trained scores" if first.measured else "merged scores: what trained ones would say is not known"
        )
        caption = (
            f"What the best merged mixture loses, had fewer of the {first.of} been scored: by {what}. "
            "Where the curve is flat, a smaller budget would have done."
        )
        return self._section(
            "Regret over evaluations", "regret", views, caption, _regret_table(first, searched=searched)
        )

    def map(self, mixed: Mixed | None) -> str:
        """Lay out the simplex of up to four datasets, with what a run and a search on it scored."""
        views, names = {}, self.geometry.names
        if mixed is not None:
            places = [
                Placed(
                    one.weights,
                    one.score,
                    "\n".join([one.text, *described(one.weights, self.geometry)]),
                    one.kind,
                )
                for one in mixed.candidates
            ]
            if view := simplex(names, places, "utility", upwards=True):
                views["shares, by m2m mix"] = view
        for name, target in self.targets.items():
            placed = [
                Placed(
                    one.weights,
                    one.merged,
                    "\n".join([one.shown, f"merged {target.metric} {one.merged:.4g}"]),
                    self.called if one.label == self.pick else "",
                )
                for one in target.merged
                if one.merged is not None
            ]
            if view := simplex(names, placed, target.metric, upwards=target.higher_is_better):
                views[name] = view
        caption = (
            "Corners are single datasets; a mixture lies between them as its shares say. Brighter is better."
        )
        still = image(mixed.folder, "mix", caption) if mixed is not None else ""
        return self._section("Map of the mixtures", "map", views, caption, still or self._best_merged())

    def losses(self, root: Path) -> str:
        """Lay out the losses of a run's trainings so far."""
        experts, mixtures = read_curves(root / "experts"), read_curves(root / "mixtures")
        view = drawn.losses(experts, mixtures)
        caption = "Each batch's loss before its step, as means over a twentieth of the steps."
        if (left := len(mixtures) - drawn.MOST_CURVES) > 0:
            caption += f" {left} trainings on mixtures are not drawn."
        still = image(self.figures, "loss_curves", caption) or table(
            ["training", "seed", "first loss", "last loss"],
            [
                [curve.label, curve.seed, f"{values[0]:.4g}", f"{values[-1]:.4g}"]
                for curve in [*experts, *mixtures][:_ROWS]
                for _, values in [curve.smoothed()]
            ],
        )
        return self._section("Training curves", "losses", {"": view} if view else {}, caption, still)

    def _section(self, title: str, name: str, views: Mapping[str, Chart], caption: str, still: str) -> str:
        if not views:
            return ""
        self.views[name] = views
        return section(title, chart(name, views, caption, still))

    def _best_merged(self) -> str:
        first = next(iter(self.targets.values()), None)
        if first is None:
            return ""
        best = sorted(first.merged, key=lambda one: -first.better(one.merged or 0.0))[:_ROWS]
        head = ["mixture", f"merged {first.metric}", "trained"]
        picked = next((one.shown for one in best if one.label == self.pick), "")
        rows = [
            [one.shown, f"{one.merged:.4g}", "–" if one.truth is None else f"{one.truth:.4g}"] for one in best
        ]
        return table(head, rows, f"{first.name}, the best merged first", picked=picked)


def _regret_table(found: Evaluations, *, searched: bool) -> str:
    """Lay out regret at doubled numbers of evaluations."""
    at = [place for place, count in enumerate(found.counts) if _doubles(count) or count == found.of]
    head = ["mixtures scored", "regret, drawn at random", *(["in the search's order"] if searched else [])]
    rows = [
        [
            str(found.counts[place]),
            f"{found.by_chance[place]:.3g}",
            *([f"{found.in_order[place]:.3g}"] if searched else []),
        ]
        for place in at
    ]
    return table(head, rows)


def _doubles(count: int) -> bool:
    return count & (count - 1) == 0
