"""One page that says what a run found, how far to trust it, and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError, RunFolderError
from m2m.mixture import Mixture
from m2m.pipeline import config as configurations
from m2m.pipeline.config import RunConfig
from m2m.pipeline.report.agreement import agreement
from m2m.pipeline.report.beside import beside
from m2m.pipeline.report.caveats import caveats
from m2m.pipeline.report.charted import Charted
from m2m.pipeline.report.cost import cost, cost_section
from m2m.pipeline.report.geometry import geometry_section, read_geometry
from m2m.pipeline.report.making import configuration, data_read, in_common, making
from m2m.pipeline.report.mixed import Mixed, read_mixed
from m2m.pipeline.report.page import bullets, can_draw, contents, page, paragraph, picture, section
from m2m.pipeline.report.runner_up import best_merged_section
from m2m.pipeline.report.scored import ScoredTarget, scored_targets
from m2m.pipeline.report.summary import summary
from m2m.pipeline.report.test_scores import MODELS, by_target, direction, number, taken, test_table
from m2m.pipeline.report.trust import trust_section
from m2m.pipeline.report.unfinished import so_far
from m2m.pipeline.report.utility import targets
from m2m.pipeline.run_folder import RunFolder, to_train_on
from m2m.setups.rows.contamination import Contamination
from m2m.setups.rows.inventory import Inventory
from m2m.support.arguments import argument
from m2m.support.checked import checked
from m2m.support.extras import installing
from m2m.support.files import write_atomically
from m2m.support.outputs import Output, check_outputs

#: What the page tells of every finished run.
_NEEDED = (
    "m2m", "target", "metric", "higher_is_better", "datasets", "picked", "test", "validation", "fidelity",
    "seconds", "recipe", "seed",
)  # fmt: skip
_Results = Mapping[str, Any]
#: What is said of a pick that needs no merging.
ONE_DATASET = (
    "The pick is a single dataset, whose merged model is its expert: the experts' own scores say as much, "
    "without merging."
)
_CHARTS = f"Charts to point at and click come with `{installing('report')}`; then `m2m report` writes them."


@checked()
def write_report(run: str | Path) -> Path:
    """Write `report.html`, which needs nothing beside it and loads nothing.

    Args:
        run: A run folder; figures are taken in if they are there. Of a run that has not finished the page
            shows what there is. Where Plotly is installed, its charts can be pointed at and clicked.

    Returns:
        The page.

    Raises:
        RunFolderError: If the folder is no run's.
    """
    folder = RunFolder(Path(run))
    results = folder.read_results(*_NEEDED)
    found = _Found(folder, results)
    if not results and not folder.identity.is_file() and found.mixed is None:
        raise RunFolderError(
            f"{folder.root} is no run folder: wanted {folder.identity.name} in it, which `m2m run` and "
            f"`m2m mix` write first into what {argument('out')} names"
        )
    path = folder.report
    check_outputs([Output(f"report of {folder.root}", path, own=True)])
    geometry = read_geometry(folder.figures, found.datasets)
    called = "the run's pick" if results else "leads so far"
    charted = Charted(folder.figures, found.targets, geometry, found.pick, called)
    parts = list(_finished(found, charted) if results else _unfinished(found, charted))
    write_atomically(path, page(found.title, _with_contents(parts), charted.views))
    return path


@dataclass
class _Found:
    """What a run folder holds now."""

    folder: RunFolder
    results: _Results

    @cached_property
    def config(self) -> RunConfig | None:
        try:
            return configurations.load(self.folder.config) if self.folder.config.exists() else None
        except ConfigError:  # of another m2m: the page shows its text
            return None

    @cached_property
    def mixed(self) -> Mixed | None:
        """A search on the simplex, of this run or of given experts."""
        return read_mixed(self.folder.mix) or read_mixed(self.folder.root)

    @cached_property
    def targets(self) -> dict[str, ScoredTarget]:
        """What was scored, what the mixture is chosen for first."""
        metrics = {name: one["metric"] for name, one in self.results.get("metrics", {}).items()}
        if self.results and "metrics" not in self.results:
            metrics[self.results["target"]] = self.results["metric"]
        found = scored_targets(self.folder, metrics)
        weights = {} if self.config is None else self.config.run.weights
        first = [name for name in [self.results.get("target"), *weights] if name in found]
        return {name: found[name] for name in dict.fromkeys([*first, *found])}

    @property
    def datasets(self) -> list[str]:
        if self.results:
            return list(self.results["datasets"])
        if self.config is not None and self.config.dataset_names:
            return self.config.dataset_names
        if self.mixed is not None:
            return list(self.mixed.found["datasets"])
        singles = [one for target in self.targets.values() for one in target.mixtures if one.is_single]
        return list(dict.fromkeys(one.label for one in singles))

    @property
    def pick(self) -> str:
        """Label of what merging picked, or of what leads so far on the one target that counts."""
        if self.results:
            return Mixture.subset(self.results["datasets"], self.results["picked"]).label
        first = next(iter(self.targets.values()), None)
        best = None if first is None else first.best()
        return "" if best is None or self.config is None or len(self.config.run.weights) > 1 else best.label

    @property
    def title(self) -> str:
        return (
            f"m2m: {' + '.join(to_train_on(self.results))}"
            if self.results
            else f"m2m: {self.folder.root.name}"
        )

    @cached_property
    def inventory(self) -> Inventory | None:
        return self.folder.read_data()

    @cached_property
    def common(self) -> Contamination | None:
        kept = self.folder.read_contamination()
        return None if kept is None else kept[1]


def _with_contents(parts: list[str]) -> Iterator[str]:
    """Put links to the sections between the summary and them."""
    at = next((place for place, part in enumerate(parts) if part.startswith("<section")), len(parts))
    yield from parts[:at]
    yield contents(parts[at:])
    yield from parts[at:]


def _finished(found: _Found, charted: Charted) -> Iterator[str]:
    folder, results = found.folder, found.results
    given = found.config is not None and bool(found.config.experts)
    saved, doubts = cost(results, given=given), list(caveats(results, found.common))
    yield _headline(results)
    yield summary(results, saved, doubts)
    bars = picture(folder.figures, "test_scores", "Gain over the base model on the test split.")
    yield section("Test scores", f'<div class="pair">{test_table(results)}{bars}</div>')
    yield section("Read with care", bullets(doubts))
    yield best_merged_section(results)
    yield charted.candidates()
    if "trust" in results:
        yield trust_section(results)
    else:
        yield section("Can the pick be trusted? Fidelity", *agreement(results))
    if utility := results.get("utility"):
        yield section("Its targets", *targets(utility, results, MODELS))
    yield section("Target by target", *by_target(found.targets, results)) if found.targets else ""
    yield charted.regret(searched=_searched(results))
    if results["fidelity"]:
        yield section("Beside what the experts say without merging", *beside(folder.figures, results))
    yield from _of_mixtures(found, charted)
    yield section("What it cost", *cost_section(results, saved))
    yield charted.losses(folder.root)
    yield from _of_data(found)
    yield section("How it was made", *making(folder, results))
    yield from _without_charts(charted)


def _unfinished(found: _Found, charted: Charted) -> Iterator[str]:
    if found.mixed is not None and not any(target.merged for target in found.targets.values()):
        yield f"<h1>Train on <b>{escape(found.mixed.shares)}</b></h1>"
        yield paragraph("The shares that m2m mix found.", "lead")
    else:
        yield from so_far(found.folder, found.config, found.targets, found.common)
    yield charted.candidates()
    yield charted.regret(searched=False)
    yield from _of_mixtures(found, charted)
    yield charted.losses(found.folder.root)
    yield from _of_data(found)
    yield section("How it is made", configuration(found.folder))
    yield from _without_charts(charted)


def _of_mixtures(found: _Found, charted: Charted) -> Iterator[str]:
    if found.mixed is not None:
        yield section("Shares on the simplex", *found.mixed.section())
    yield charted.map(found.mixed)
    if found.results:
        yield section("How the experts lie to each other", geometry_section(charted.geometry))


def _of_data(found: _Found) -> Iterator[str]:
    if found.inventory:
        yield section("What was read", *data_read(found.inventory, found.results or None))
    if found.common:
        yield section("What targets and datasets have in common", *in_common(found.common))


def _without_charts(charted: Charted) -> Iterator[str]:
    if charted.views and not can_draw():
        yield paragraph(_CHARTS, "soft")


def _searched(results: _Results) -> bool:
    found = results.get("candidates", {"scored": 1, "of": 1})
    return bool(found["scored"] < found["of"])


def _headline(results: _Results) -> str:
    names = " + ".join(f"<b>{escape(name)}</b>" for name in to_train_on(results))
    row, test = taken(results), results["test"]
    known = [
        (label, test[key])
        for key, label in MODELS.items()
        if key not in (row, "picked_after_trainings") and test.get(key) is not None
    ]
    others = ", ".join(f"{label} {number(score)}" for label, score in known)
    every = 2 ** len(results["datasets"]) - 1
    found = results.get("candidates", {"scored": every, "of": every})
    of_all = f"Of all {every} mixtures of {len(results['datasets'])} datasets"
    if found["scored"] < every:
        of_all = f"Of {found['scored']} mixtures that a search scored, of {every} there are"
    best = f"{of_all}, the merged model of this one scores best on {results['target']}."
    if row != "picked":
        picked = " + ".join(results["picked"])
        best = f"{of_all}, the merged model of {picked} scores best on {results['target']}, but "
        best += f"{results['why']}."
    text = (
        f"{best} Really trained, it has a test {results['metric']} of {number(test[row])} "
        f"({direction(results)}); {others}."
    )
    if len(results["picked"]) == 1 and row == "picked":
        text += f" {ONE_DATASET}"
    return f"<h1>Train on {names}</h1>\n{paragraph(text, 'lead')}"
