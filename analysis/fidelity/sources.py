"""Where points come from: any table of a user's, the score table of a run, a run folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fidelity.beside import Similarities
from analysis.fidelity.run_utility import RunUtility
from analysis.fidelity.scores import Points
from analysis.fidelity.study import FidelityStudy, study, write
from analysis.member_cells import check_once, members_of_cell
from analysis.results import explained, run_source
from m2m.errors import InputError
from m2m.pipeline.headlines import headline_rows
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats
from m2m.support.csv_tables import read_frame
from m2m.support.names import check_names, label_fault
from m2m.support.schema import did_you_mean

#: Columns of a table that are used without being asked for.
MEMBERS, LABEL, EXAMPLES = "members", "candidate", "examples"


def of_table(
    path: str | Path,
    merged: str,
    trained: str,
    by: str | None = None,
    *,
    again: str | None = None,
    higher_is_better: bool = True,
    seed: int = 0,
) -> FidelityStudy:
    """Measure fidelity in a CSV table, one mixture a row.

    A column `members` (`a+b` or a JSON list) tells singletons apart, a column `candidate` names the mixtures;
    without one of them the other one does both (`a+b` or `a=0.25+b=0.75` in `candidate`). A row whose merged
    or trained cell is empty is left out and counted. A score that is not finite (`nan`, `inf`) is there, so
    that its target has no correlation, with the reason. Targets too small for a correlation of their own
    count in the pooled one.

    Args:
        path: The table.
        merged: Column of the merged models' scores.
        trained: Column of the mixture-trained models' scores.
        by: Column that names the target; None: one target.
        again: Column of scores of a second training seed.
        higher_is_better: Direction of the metric.
        seed: Seed of bootstraps and permutations.

    Returns:
        The study.

    Raises:
        InputError: If columns are missing, double or used twice, a cell is not what its column wants, a
            mixture occurs twice in a target, or no row has both scores.
    """
    asked = [column for column in (merged, trained, by, again) if column is not None]
    repeated = [column for column in asked if asked.count(column) > 1]
    if repeated:
        raise InputError(f"column {repeated[0]!r} is asked for twice, as {asked}; wanted different columns")
    table = read_table(Path(path), asked)
    if MEMBERS not in table and LABEL in table and table[LABEL].str.contains("+", regex=False).any():
        table[MEMBERS] = [_without_weights(label) for label in table[LABEL]]
    if MEMBERS in table:
        table[MEMBERS] = _all_members(str(path), table[MEMBERS])
    paired = table[(table[merged].str.strip() != "") & (table[trained].str.strip() != "")]
    if paired.empty:
        raise InputError(f"{path}: no row has both {merged!r} and {trained!r}")
    groups = _targets(str(path), table, by)
    columns = (merged, trained, again)
    return study((_of_rows(str(path), name, rows, columns, higher_is_better) for name, rows in groups), seed)


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV table as text; a file that lacks or doubles one of these columns is an InputError."""
    table = read_frame(path, "the table", text=True)
    names = list(table.columns)
    for column in columns:
        if column not in names:
            raise InputError(f"{path} has no column {column!r}{did_you_mean(column, names)}; it has {names}")
    if table.empty:
        raise InputError(f"{path} has a header but no rows")
    return table


def _targets(path: str, table: pd.DataFrame, by: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    if by is None:
        yield "all", table
        return
    unnamed = table.index[table[by].str.strip() == ""]
    if len(unnamed):
        raise InputError(f"{path}: row {unnamed[0] + 1}, column {by!r}: wanted a target's name, got nothing")
    for name, rows in table.groupby(by, sort=False):
        yield str(name), rows


def _of_rows(
    path: str, target: str, rows: pd.DataFrame, columns: tuple[str, str, str | None], higher_is_better: bool
) -> Points:
    merged, trained, again = columns
    paired = rows[(rows[merged].str.strip() != "") & (rows[trained].str.strip() != "")]
    members = tuple(paired[MEMBERS]) if MEMBERS in rows else None
    if LABEL in rows:
        labels = list(paired[LABEL])
    else:
        labels = (
            [f"row {i + 1}" for i in paired.index]
            if members is None
            else ["+".join(names) for names in members]
        )
    check_once(path, target, labels, list(paired.index))
    return Points(
        target=target,
        metric="score",
        higher_is_better=higher_is_better,
        labels=tuple(labels),
        members=members,
        merged=_numbers(path, paired, merged),
        trained=_numbers(path, paired, trained),
        again=_numbers(path, paired, again) if again else np.full(len(paired), np.nan),
        left_out=len(rows) - len(paired),
    )


def _all_members(path: str, cells: pd.Series[str]) -> list[tuple[str, ...]]:
    """Read every row's dataset names, in the order in which datasets first appear in the table."""
    read: list[tuple[str, ...]] = []
    place: dict[str, int] = {}
    for line, text in enumerate(cells, start=1):
        where = f"{path}: row {line}, column {MEMBERS!r}"
        names = members_of_cell(text, where)
        if not all(names) or len(set(names)) < len(names):
            raise InputError(f"{where}: wanted different names, got {text!r}")
        if any("=" in name for name in names):
            raise InputError(f"{where}: wanted names alone, got {text!r}; weights stand in column {LABEL!r}")
        read.append(names)
        for name in names:
            place.setdefault(name, len(place))
    check_names(place, f"{path}, column {MEMBERS!r}: dataset", label_fault, InputError)
    return [tuple(sorted(names, key=place.__getitem__)) for names in read]


def _without_weights(label: str) -> str:
    return "+".join(part.partition("=")[0] for part in label.split("+"))


def _numbers(path: str, rows: pd.DataFrame, column: str) -> Floats:
    return np.array(
        [_number(path, line, column, text) for line, text in rows[column].items()], dtype=np.float64
    )


def _number(path: str, line: Any, column: str, text: str) -> float:
    """Read a number from a cell; an empty one is NaN."""
    try:
        # Python reads 1_000 as a thousand; in a table it is a mistake.
        return float(text.replace("_", "?")) if text.strip() else math.nan
    except ValueError:
        raise InputError(
            f"{path}: row {line + 1}, column {column!r}: wanted a number, got {text!r}"
        ) from None


def of_scores(
    frame: pd.DataFrame,
    *,
    metric: str | None = None,
    split: str = "validation",
    trained_split: str | None = None,
    first_seed: int | None = None,
    similarities: Similarities | None = None,
    chosen_for: RunUtility | None = None,
    seed: int = 0,
) -> FidelityStudy:
    """Measure fidelity in a run's table of scores, one target a task.

    Args:
        frame: Columns `candidate`, `members` (JSON list), `origin` (base, merged, trained), `task`, `split`,
            `metric`, `seed`, `value`, `higher_is_better`, and `examples` (an array a row) if known.
        metric: The metric; may be left out if every task has only one.
        split: Split of the merged models' scores.
        trained_split: Split of the trained models' scores; None: the same.
        first_seed: Training seed that is the truth; None: the lowest. The next one gives the noise ceiling.
        similarities: How similar each dataset is to each task, by task, then dataset; None: not known.
        chosen_for: The utility that the run chose for, where several tasks have weights.
        seed: Seed of bootstraps and permutations.

    Returns:
        The study.

    Raises:
        InputError: If the metric is not there or not given, a score occurs twice, or a task's scores are of
            different versions of it, directions or numbers of examples.
    """
    metrics, scores = sorted(frame["metric"].unique()), frame
    if metric is None and (not metrics or frame.groupby("task")["metric"].nunique().max() > 1):
        raise InputError(f"the score table has {len(metrics)} metrics, say which: {metrics}")
    if metric is not None:
        if metric not in metrics:
            raise InputError(f"the score table has no metric {metric!r}; it has {metrics}")
        scores = frame[frame["metric"] == metric]
    merged = scores[(scores["origin"] == "merged") & (scores["split"] == split)]
    trained = scores[(scores["origin"] == "trained") & (scores["split"] == (trained_split or split))]
    targets = _of_tasks(merged, trained, first_seed)
    return study(targets, seed, similarities=similarities, chosen_for=chosen_for)


def _of_tasks(merged: pd.DataFrame, trained: pd.DataFrame, first_seed: int | None) -> Iterator[Points]:
    for task, candidates in merged.groupby("task", sort=False):
        truth = trained[trained["task"] == task]
        if truth.empty:
            continue
        _check_alike(str(task), candidates, truth)
        seeds = sorted(truth["seed"].dropna().unique())
        first = seeds[0] if first_seed is None else first_seed
        later = [other for other in seeds if other > first]
        yield _of_task(str(task), candidates, truth, first, later[0] if later else None)


def _check_alike(task: str, *scored: pd.DataFrame) -> None:
    # A task's splits may differ in their examples, its version and direction may not.
    rows = pd.concat(scored)
    for column, within in (("version", []), ("higher_is_better", []), ("count", ["split"])):
        if column not in rows:
            continue
        groups = rows.groupby(within) if within else [("", rows)]
        for _, group in groups:
            different = group[column].unique().tolist()
            if len(different) > 1:
                raise InputError(
                    f"task {task!r}: scores that differ in {column} cannot be compared: {different}"
                )


def _of_task(
    task: str, candidates: pd.DataFrame, truth: pd.DataFrame, first: float, second: float | None
) -> Points:
    surrogate, first_truth = (
        _by_candidate(task, candidates),
        _by_candidate(task, truth[truth["seed"] == first]),
    )
    trained = first_truth["value"]
    again = _by_candidate(task, truth[truth["seed"] == second])["value"]
    table = surrogate.assign(trained=trained, again=again)
    paired = table[table.index.isin(trained.index)]
    return Points(
        target=task,
        metric=str(candidates["metric"].iloc[0]),
        higher_is_better=bool(candidates["higher_is_better"].iloc[0]),
        labels=tuple(paired.index),
        members=tuple(members_of_cell(text, f"column {MEMBERS!r}") for text in paired[MEMBERS]),
        merged=paired["value"].to_numpy(dtype=np.float64),
        trained=paired["trained"].to_numpy(dtype=np.float64),
        again=paired["again"].to_numpy(dtype=np.float64),
        left_out=len(table) - len(paired),
        examples=_examples(paired, first_truth.loc[paired.index]),
    )


def _examples(merged: pd.DataFrame, trained: pd.DataFrame) -> tuple[tuple[Floats, Floats], ...] | None:
    """Return the examples' values, None if there are none or not as many in every row. One sample."""
    if EXAMPLES not in merged or len({len(v) for v in (*merged[EXAMPLES], *trained[EXAMPLES])}) != 1:
        return None
    return ((np.stack(list(merged[EXAMPLES])), np.stack(list(trained[EXAMPLES]))),)


def _by_candidate(task: str, rows: pd.DataFrame) -> pd.DataFrame:
    repeated = rows[LABEL][rows[LABEL].duplicated()]
    if len(repeated):
        raise InputError(
            f"task {task!r}: {repeated.iloc[0]!r} is scored twice with origin {rows['origin'].iloc[0]!r}"
        )
    return rows.set_index(LABEL)


def of_run(root: str | Path, *, seed: int = 0) -> FidelityStudy:
    """Measure fidelity in a run folder's table of scores, on the metric that decides on each target.

    Args:
        root: The run folder, of a run with `validate = true`.
        seed: Seed of bootstraps and permutations.

    Returns:
        The study, one target a task.

    Raises:
        InputError: If the folder is not a finished run, or not one that trained every mixture.
    """
    folder = RunFolder(Path(root))
    results = folder.read_results("metric", "seed")
    if not results or not folder.table.exists():
        raise InputError(
            f"{root} is not a finished run folder: it has no {folder.results.name} or {folder.table.name}"
        )
    if not results.get("oracle"):
        raise InputError(f"{root} trained only what it chose: fidelity needs a run with validate = true")
    with ScoreTable(folder.table, read_only=True) as table:
        examples: list[Any] = [row.examples for row in table.rows()]
        frame = table.frame().assign(examples=examples)
    return of_scores(
        headline_rows(frame, results), first_seed=results["seed"], seed=seed,
        similarities=results.get("similarities"), chosen_for=RunUtility.of_results(results),
    )  # fmt: skip


def record(study: FidelityStudy, root: str | Path) -> None:
    """Put a study into its run: the files into the figures folder, the numbers into `results.json`.

    Args:
        study: The study of this run.
        root: The run folder.
    """
    folder = RunFolder(Path(root))
    write(study, folder.figures, run_source(root))
    found = {"fidelity": study.targets_json(), "beside": explained(study.beside.to_json())}
    folder.write_results(folder.read_results() | found)
