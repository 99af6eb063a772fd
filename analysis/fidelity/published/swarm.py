"""Swarms of trained models: RegMix's tables (arXiv 2407.01492), and Olmix's (arXiv 2602.12237).

A table of mixtures, a column a domain, and tables of scores, a column a metric, are joined on `index`, `run`
or `run_id`. Neither work merges: the models that stand in for those trained are smaller ones.
"""

from __future__ import annotations

from pathlib import Path

from analysis.fidelity.published.paired import mixtures_of, paired
from analysis.fidelity.scores import Points
from m2m.errors import InputError
from m2m.predicting.tables import read_mixtures
from m2m.support.csv_tables import number, read_rows

#: Columns that join tables, the first one that is there; the others of them say nothing then.
_JOIN = ("run", "run_id", "index", "Unnamed: 0", "")
#: A name for people beside these.
_NAME = "name"


def read(source: Path, merged: str | None, trained: str | None, lower_is_better: bool) -> list[Points]:
    """Read a swarm.

    Args:
        source: The mixtures (RegMix's `train_mixture_1m.csv`, Olmix's `ratios.csv`).
        merged: The table of scores of the models that stand in (`train_pile_loss_1m.csv`, `metrics.csv`).
        trained: That of the truth, of the same mixtures or of some of them.
        lower_is_better: Whether scores are losses, as in both works.

    Returns:
        A target a metric that both tables have.

    Raises:
        InputError: If a table is not what it should be, or the three do not go together.
    """
    table = read_mixtures(source)
    if not table.indexed:
        raise InputError(f"{source} has no column to join on; wanted one of {', '.join(_JOIN[:3])}")
    mixtures = mixtures_of(
        str(source),
        {
            str(label): dict(zip(table.domains, map(float, row), strict=True))
            for label, row in zip(table.labels, table.weights, strict=True)
        },
    )
    sides = [_scores(Path(str(path))) for path in (merged, trained)]
    return paired(str(source), mixtures, *sides, higher_is_better=not lower_is_better)


def _scores(path: Path) -> dict[str, dict[str, float]]:
    """Read a table of scores; an empty cell is a score that is not there."""
    found: dict[str, dict[str, float]] = {}
    for line, cells in read_rows(path, "a table of scores"):
        join = next((column for column in _JOIN if column in cells), None)
        if join is None:
            raise InputError(f"{path} has no column to join on; wanted one of {', '.join(_JOIN[:3])}")
        name = cells[join]
        if name in found:
            raise InputError(f"{path}, line {line}: {join} {name!r} is there twice; every row needs its own")
        found[name] = {
            column: _number(path, line, column, cell)
            for column, cell in cells.items()
            if cell and column not in (*_JOIN, _NAME)
        }
    if not found:
        raise InputError(f"{path} has no rows")
    return found


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        return number(cell)
    except ValueError as error:
        raise InputError(f"{path}, line {line}, column {column!r}: {error}") from None
