"""Where landscapes come from: any table of a user's, the scores of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fidelity.sources import LABEL, MEMBERS, read_table
from analysis.member_cells import check_once, members_of_cell
from analysis.results import run_source
from analysis.trust.landscape import RANDOM, Landscape
from m2m.errors import ConfigError, InputError
from m2m.mixture import Mixture
from m2m.pipeline.headlines import headline_rows
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable
from m2m.support.arguments import argument
from m2m.support.arrays import Floats
from m2m.support.csv_tables import number
from m2m.support.names import split_label

#: Column that says what each mixture was trained for.
PURPOSE = "purpose"
#: Column of the mixture-trained models' scores, where no other is named.
TRAINED = "trained"


def read(
    source: Path,
    columns: Mapping[str, str | None],
    *,
    lower_is_better: bool = False,
    planning: bool = False,
) -> tuple[list[Landscape], dict[str, Any]]:
    """Read landscapes from a table or a run folder.

    Args:
        source: Either.
        columns: The columns' names, as arguments of `of_table`; None for a default. For tables only.
        lower_is_better: Whether scores are losses; for tables only.
        planning: Whether trainings are only planned: a table without a column of them then has none.

    Returns:
        A landscape a target, and what they were made from.

    Raises:
        ConfigError: If a run folder is given columns.
        InputError: If the source is neither, or does not say what is wanted.
    """  # noqa: DOC502 - partly raised by what is called
    named = {name: column for name, column in columns.items() if column is not None}
    if source.is_dir():
        if named or lower_is_better:
            *others, last = (argument(name) for name in (*columns, "lower_is_better"))
            raise ConfigError(f"{', '.join(others)} and {last} are for tables, not for a run")
        return of_run(source), run_source(source)
    rest = {name: column for name, column in named.items() if name != "trained"}
    untrained = planning and "trained" not in named and TRAINED not in read_table(source, [])
    trained = None if untrained else named.get("trained", TRAINED)
    found = of_table(source, **rest, trained=trained, higher_is_better=not lower_is_better)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return found, {"table": source.name, **named, "sha256": digest}


def of_table(
    path: str | Path,
    *,
    merged: str = "merged",
    trained: str | None = TRAINED,
    by: str | None = None,
    again: str | None = None,
    higher_is_better: bool = True,
) -> list[Landscape]:
    """Read landscapes from a CSV table, a mixture a row.

    A column `members` (`a+b` or a JSON list) or `candidate` (`a+b`, `a=0.25+b=0.75`) says what each mixture
    is; the datasets are those that have a row of their own. A column `purpose` says what it was trained for.

    Args:
        path: The table.
        merged: Column of the merged models' scores.
        trained: Column of the mixture-trained models' scores, empty where there is none; None: nothing is
            trained yet.
        by: Column that names the target; None: one target.
        again: Column of scores of a second training seed.
        higher_is_better: Direction of the metric.

    Returns:
        A landscape a target, in the table's order.

    Raises:
        InputError: If columns are missing, a cell is not what its column wants, a mixture is there twice in a
            target or of an unknown dataset, or a target has no single datasets.
    """
    table = read_table(Path(path), [name for name in (merged, trained, by, again) if name is not None])
    if MEMBERS not in table and LABEL not in table:
        raise InputError(f"{path} has neither a column {MEMBERS!r} nor {LABEL!r} that says what was mixed")
    columns = [column for column in (trained, again) if column is not None]
    return [
        _of_rows(str(path), target, rows, merged, columns, higher_is_better)
        for target, rows in _targets(str(path), table, by)
    ]


def _targets(path: str, table: pd.DataFrame, by: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    if by is None:
        yield "all", table
        return
    unnamed = table.index[table[by] == ""]
    if len(unnamed):
        raise InputError(f"{path}: row {unnamed[0] + 1}, column {by!r}: wanted a target's name, got nothing")
    for name, rows in table.groupby(by, sort=False):
        yield str(name), rows


def _of_rows(
    path: str, target: str, rows: pd.DataFrame, merged: str, columns: list[str], higher_is_better: bool
) -> Landscape:
    mixtures = _mixtures(path, rows)
    check_once(path, target, [mixture.label for mixture in mixtures], list(rows.index))
    return Landscape(
        mixtures=mixtures,
        merged=_numbers(path, rows, merged, wanted=True),
        trained=np.stack(
            [_numbers(path, rows, column) for column in columns] or [np.full(len(rows), np.nan)]
        ),
        target=target,
        higher_is_better=higher_is_better,
        purposes=tuple(rows[PURPOSE]) if PURPOSE in rows else (),
    )


def _mixtures(path: str, rows: pd.DataFrame) -> tuple[Mixture, ...]:
    """Read every row's mixture; the datasets are the single ones, in the order of their rows. [n]."""
    where = f"{path}: row {{}}"
    cells = rows.reindex(columns=[LABEL, MEMBERS], fill_value="").itertuples(name=None)
    texts = {line + 1: _text(label, members, where.format(line + 1)) for line, label, members in cells}
    datasets = tuple(dict.fromkeys(text for text in texts.values() if "+" not in text and "=" not in text))
    found = []
    for line, text in texts.items():
        try:
            found.append(Mixture.parse(text, datasets))
        except InputError as error:
            hint = "" if datasets else " (no row is of a single dataset)"
            raise InputError(f"{where.format(line)}: {error}{hint}") from None
    return tuple(found)


def _text(label: str, members: str, where: str) -> str:
    """Return what names a row's mixture: the members, or the candidate where it has weights or is alone."""
    text = label if "=" in label or not members else members
    if text.startswith("["):
        text = "+".join(members_of_cell(text, where))
    return "+".join(split_label(text))


def _numbers(path: str, rows: pd.DataFrame, column: str, *, wanted: bool = False) -> Floats:
    values = []
    for line, cell in rows[column].items():
        try:
            values.append(np.nan if cell == "" and not wanted else number(cell))
        except ValueError as error:
            raise InputError(f"{path}: row {int(line) + 1}, column {column!r}: {error}") from None  # type: ignore[call-overload]
    return np.array(values, dtype=np.float64)


def of_run(root: str | Path) -> list[Landscape]:
    """Read landscapes from a finished run's scores on its headline metric, a target a task.

    Args:
        root: The run folder.

    Returns:
        A landscape a target; every training seed counts.

    Raises:
        InputError: If the folder is not a finished run.
    """
    folder = RunFolder(Path(root))
    results = folder.read_results("metric", "datasets")
    purposes = _purposes(results)
    if not results or not folder.table.exists():
        raise InputError(
            f"{root} is not a finished run folder: it has no {folder.results.name} or {folder.table.name}"
        )
    with ScoreTable(folder.table, read_only=True) as table:
        frame = headline_rows(table.frame(split="validation"), results)
    return [
        _of_task(str(task), rows, tuple(results["datasets"]), purposes)
        for task, rows in frame.groupby("task", sort=False)
    ]


def _purposes(results: Mapping[str, Any]) -> dict[str, str]:
    """What each mixture was trained for, by label, where the run trained some on advice."""
    made = results.get("trust", {}).get("trainings", [])
    ranked = sorted(made, key=lambda one: one["purpose"] == RANDOM)  # what was drawn counts so
    return {"+".join(one["mixture"]): one["purpose"] for one in ranked}


def _of_task(
    task: str, rows: pd.DataFrame, datasets: tuple[str, ...], purposes: Mapping[str, str]
) -> Landscape:
    merged, trained = (rows[rows["origin"] == origin] for origin in ("merged", "trained"))
    mixtures = [_weighted(cell, datasets) for cell in merged["weights"]]
    place = {mixture.label: row for row, mixture in enumerate(mixtures)}
    seeds = {seed: row for row, seed in enumerate(sorted(trained["seed"].dropna().unique()))}
    scores = np.full((max(len(seeds), 1), len(mixtures)), np.nan)
    for seed, label, value in zip(trained["seed"], trained["candidate"], trained["value"], strict=True):
        if label in place:
            scores[seeds[seed], place[label]] = value
    first: Any = merged.iloc[0]
    return Landscape(
        tuple(mixtures),
        merged["value"].to_numpy(dtype=np.float64),
        scores,
        target=task,
        metric=str(first["metric"]),
        higher_is_better=bool(first["higher_is_better"]),
        purposes=tuple(purposes.get(mixture.label, "") for mixture in mixtures) if purposes else (),
    )


def _weighted(cell: str, datasets: tuple[str, ...]) -> Mixture:
    shares = json.loads(cell)
    return Mixture(datasets, tuple(shares.get(name, 0.0) for name in datasets))
