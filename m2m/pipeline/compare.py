"""Runs side by side: what differs in their configurations, what they picked, scored and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError, RunFolderError
from m2m.pipeline.headlines import in_words
from m2m.pipeline.report.scored import ScoredTarget, scored_targets
from m2m.pipeline.report.test_scores import MODELS
from m2m.pipeline.run_folder import RunFolder, to_train_on
from m2m.support.checked import checked
from m2m.support.doors import read_toml
from m2m.support.names import short_names
from m2m.support.schema import flat

#: A value of each run, None where a run has none. [R]
Row = list[Any]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; each row has a value a run, None where it has none.

    Attributes:
        runs: What the runs are called: the last parts of their paths that tell them apart. [R]
        configuration: Keys of the configurations whose values differ, as in `train.steps`.
        picks: The mixture to train on, and what each baseline chose.
        test: Test scores of the models that the runs tell of.
        mixtures: Validation scores by target, then by mixture and origin (`a + b, trained`), of mixtures that
            two runs or more have.
        cost: Wall seconds by step, and in all.
        metrics: Metric and direction by target, in words.
        notes: What must be known before scores are compared.
    """

    runs: list[str]
    configuration: Mapping[str, Row]
    picks: Mapping[str, Row]
    test: Mapping[str, Row]
    mixtures: Mapping[str, Mapping[str, Row]]
    cost: Mapping[str, Row]
    metrics: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Lay its attributes out for JSON."""
        return vars(self) | {"notes": list(self.notes)}


@dataclass(frozen=True)
class _Run:
    """What one run folder holds."""

    name: str
    folder: RunFolder
    results: Mapping[str, Any]
    configuration: Mapping[str, Any]
    targets: Mapping[str, ScoredTarget]


@checked()
def compare(runs: Sequence[str | Path]) -> Comparison:
    """Lay runs side by side; one that has not finished has what it has so far.

    Args:
        runs: Two or more run folders. [R]

    Returns:
        What differs, and what they found.

    Raises:
        ConfigError: If there are fewer than two, or one is named twice.
        RunFolderError: If a folder is no run's.
    """  # noqa: DOC502 - raised by what is called
    folders = [Path(run) for run in runs]
    if len(folders) < 2:
        raise ConfigError(f"a comparison needs two run folders or more, got {len(folders)}")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"the same run twice: {', '.join(map(str, folders))}; name different run folders")
    names = short_names([folder.resolve() for folder in folders])
    found = [_opened(name, folder) for name, folder in zip(names, folders, strict=True)]
    configuration = _rows(found, lambda run: run.configuration)
    return Comparison(
        runs=names,
        configuration={key: row for key, row in configuration.items() if _differs(row)},
        picks=_rows(found, _picks),
        test=_rows(found, lambda run: run.results.get("test", {})),
        mixtures={target: rows for target in _common(found) if (rows := _side_by_side(found, target))},
        cost=_rows(found, _seconds),
        metrics={
            name: in_words(target.metric, target.higher_is_better)
            for run in found
            for name, target in run.targets.items()
        },
        notes=tuple(_notes(found)),
    )


def _opened(name: str, root: Path) -> _Run:
    folder = RunFolder(root)
    results = folder.read_results()
    if not results and not folder.identity.is_file():
        raise RunFolderError(f"{root} is no run folder: wanted {folder.identity.name} in it")
    metrics = {target: one["metric"] for target, one in results.get("metrics", {}).items()}
    if results and not metrics:
        metrics[results["target"]] = results["metric"]
    there = folder.config.exists()
    tables = read_toml(folder.config, "a run's configuration", RunFolderError) if there else {}
    return _Run(name, folder, results, dict(flat(tables)), scored_targets(folder, metrics))


def _rows(runs: Sequence[_Run], of: Callable[[_Run], Mapping[str, Any]]) -> dict[str, Row]:
    """Put what each run has by name side by side, names in the order in which they are met."""
    found = [of(run) for run in runs]
    return {
        name: [one.get(name) for one in found] for name in dict.fromkeys(key for one in found for key in one)
    }


def _differs(row: Row) -> bool:
    return any(value != row[0] for value in row)


def _picks(run: _Run) -> dict[str, str]:
    chosen = {name: " + ".join(run.results[name]) for name in MODELS if run.results.get(name)}
    if not run.results:
        return {}
    return {"train on": " + ".join(to_train_on(run.results)), **chosen}


def _seconds(run: _Run) -> dict[str, float]:
    seconds = run.folder.read_seconds()
    return {**seconds, "total": sum(seconds.values())} if seconds else {}


def _common(runs: Sequence[_Run]) -> list[str]:
    """List the targets that two runs or more have with the same metric."""
    found = list[str]()
    for name in dict.fromkeys(name for run in runs for name in run.targets):
        metrics = [run.targets[name].metric for run in runs if name in run.targets]
        if len(metrics) > 1 and len(set(metrics)) == 1:
            found.append(name)
    return found


def _side_by_side(runs: Sequence[_Run], target: str) -> dict[str, Row]:
    def scores(run: _Run) -> dict[str, Any]:
        if target not in run.targets:
            return {}
        found = {"base model": run.targets[target].base}
        for one in run.targets[target].mixtures:
            found |= {f"{one.shown}, merged": one.merged, f"{one.shown}, trained": one.truth}
        return {name: score for name, score in found.items() if score is not None}

    rows = _rows(runs, scores)
    return {name: row for name, row in rows.items() if sum(score is not None for score in row) > 1}


def _notes(runs: Sequence[_Run]) -> Iterator[str]:
    for run in runs:
        if not run.results:
            yield f"{run.name} has not finished: it has what it has so far"
    contents = [run.folder.contents if run.folder.identity.is_file() else {} for run in runs]
    for part in dict.fromkeys(part for one in contents for part in one):
        kind, _, name = part.partition(" ")
        known = {one[part] for one in contents if part in one}
        if len(known) > 1 and kind == "target":
            yield f"target {name} has other examples in each: its scores are not of the same thing"
        elif len(known) > 1 and kind == "dataset":
            yield f"dataset {name} has other content in each"
    for name in dict.fromkeys(name for run in runs for name in run.targets):
        metrics = {run.targets[name].metric for run in runs if name in run.targets}
        if len(metrics) > 1:
            yield f"target {name} is judged by {' and '.join(sorted(metrics))}: its scores are not compared"
