"""Tables of mixtures and scores: read, joined on their index, and refused where a number cannot be right."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m2m.errors import InputError
from m2m.support.arrays import LARGEST_SCORE, Floats
from m2m.support.csv_tables import read_frame
from m2m.support.names import check_names, label_fault
from m2m.support.schema import did_you_mean, repeated_at

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

#: Column that joins tables, unless another is named.
INDEX = "index"
#: What data frames that were written with their index call its column, once read back.
_UNNAMED = "Unnamed: 0"
#: What tables of runs call it, with a name for people beside it (Olmix, arXiv 2602.12237).
_RUNS, _NAME = ("run", "run_id"), "name"
#: Columns of words in tables of candidates.
_WORDS = ("candidate", "members", "kind")
#: A table with more decimals than this was not rounded for people.
_MOST_DECIMALS = 9


@dataclass(frozen=True)
class MixtureTable:
    """A table of mixtures.

    Attributes:
        where: File name for messages.
        domains: The N domain names, in the table's order.
        labels: What the index column says of each row; row numbers from 0 without one. [M]
        indexed: Whether there is an index column.
        weights: Mixture weights; a row is on the simplex. [M, N]
        subsets: Whether the table held members (0 and 1) rather than weights.
    """

    where: str
    domains: tuple[str, ...]
    labels: tuple[Hashable, ...]
    indexed: bool
    weights: Floats
    subsets: bool


def read_table(source: Path | str | pd.DataFrame, index: str | None) -> tuple[str, pd.DataFrame, bool]:
    """Read a table and set its index; a name for messages, the table, whether it has an index column."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        where, table = "the table", source.copy()
        if table.index.name is not None and table.index.name not in table.columns:
            table = table.reset_index()
    else:
        where, table = str(source), read_frame(Path(source), "the table")
    table.columns = [str(column).strip() for column in table.columns]
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise InputError(f"{where} has more than one column {repeated[0]!r}")
    if not len(table):
        raise InputError(f"{where} has no rows")
    name = index or next((column for column in _index_columns(table) if column in table.columns), None)
    if name is None:
        return where, table, False
    if name not in table.columns:
        raise InputError(f"{where} has no column {name!r}{did_you_mean(name, table.columns)} to join on")
    if name in _RUNS:
        beside = [column for column in (INDEX, _UNNAMED) if column in table.columns]
        if _NAME in table.columns and not _are_shares(table, _NAME):
            beside.append(_NAME)
        table = table.drop(columns=beside)
    table = table.set_index(name)
    labels = table.index.tolist()
    twice = repeated_at(labels)
    if twice is not None:
        first, second = (place + 1 for place in twice)
        raise InputError(
            f"{where}, rows {first} and {second}: {name} {labels[twice[0]]!r} is there twice; every row "
            "needs its own"
        )
    return where, table, True


def read_mixtures(
    source: Path | str | pd.DataFrame, index: str | None = None, domains: Sequence[str] | None = None
) -> MixtureTable:
    """Read mixtures: weights on the simplex, or subsets as 0 and 1, which become s/|s|."""
    # Sums may be off by what rounding to the table's decimals explains; rows are then scaled to sum to 1, and
    # so are percentages.
    # With `domains` there must be those and no others; they come in that order.
    from pandas.api.types import is_numeric_dtype

    where, table, indexed = read_table(source, index)
    if domains is not None:
        _same_domains(where, list(table.columns), domains)
        table = table[list(domains)]
    if not len(table.columns):
        raise InputError(f"{where} has no column of weights")
    check_names(table.columns, f"{where}: column", label_fault, InputError)
    words = [name for name in _WORDS if name in table.columns and not is_numeric_dtype(table[name])]
    if words:
        raise InputError(
            f"{where} is a table of candidates, as `m2m mix` and `m2m score` write it; wanted a column of "
            f"weights a domain, and at most an index column: take out {', '.join(words)}, and all scores"
        )
    raw = np.column_stack([_numbers(where, table, column) for column in table.columns])
    wrong = np.argwhere((raw < 0) | (raw > LARGEST_SCORE))
    if len(wrong):
        row, column = wrong[0]
        raise InputError(
            f"{_row(where, table, row)}: the weight of {table.columns[column]!r} is {raw[row, column]:g}, "
            f"wanted {'≥ 0' if raw[row, column] < 0 else 'at most 1'}"
        )
    if len(raw) and np.all(np.abs(raw.sum(axis=1) - 100) < 1):
        _log.info("%s: every row sums to 100, so its weights are taken for percentages", where)
        raw = raw / 100
    subsets = bool(np.isin(raw, (0.0, 1.0)).all() and (raw.sum(axis=1) > 1).any())
    empty = np.flatnonzero(raw.sum(axis=1) == 0)
    if len(empty):
        raise InputError(
            f"{_row(where, table, empty[0])}: all weights are 0; the empty mixture trains nothing"
        )
    if not subsets:
        _check_sums(where, table, raw)
    return MixtureTable(
        where, tuple(table.columns), tuple(table.index.tolist()), indexed, averaged(raw), subsets
    )


def read_scores(
    source: Path | str | pd.DataFrame, target: str, mixtures: MixtureTable, index: str | None = None
) -> Floats:
    """Read one column of scores [M], in the order of the mixtures."""
    where, table, indexed = read_table(source, index)
    if target not in table.columns:
        raise InputError(
            f"{where} has no column {target!r}{_meant(target, list(table.columns))}; it has "
            f"{list(table.columns)}"
        )
    if indexed != mixtures.indexed:
        with_index, without = (where, mixtures.where) if indexed else (mixtures.where, where)
        raise InputError(f"{with_index} has an index column and {without} has none: add it, or take it away")
    if indexed:
        table = _aligned(where, table, mixtures)
    elif len(table) != len(mixtures.labels):
        raise InputError(
            f"{where} has {len(table)} rows and {mixtures.where} {len(mixtures.labels)}: without an index "
            f"column "
            f"they are joined in order and must match"
        )
    return _numbers(where, table, target)


def averaged(indicators: Floats) -> Floats:
    """What averaging makes of subsets, 1 for a member: s/|s| (Merge to Mix, arXiv 2505.16066)."""
    shares: Floats = indicators / indicators.sum(axis=1, keepdims=True)
    return shares


def _index_columns(table: pd.DataFrame) -> list[str]:
    """Return what may join a table, in order: words that name runs say more than numbers of rows."""
    from pandas.api.types import is_numeric_dtype

    runs = [column for column in _RUNS if column in table.columns and not _are_shares(table, column)]
    words = [column for column in runs if not is_numeric_dtype(table[column])]
    return [*words, INDEX, _UNNAMED, *runs]


def _are_shares(table: pd.DataFrame, column: str) -> bool:
    """Whether a column may be a domain's weights."""
    from pandas.api.types import is_numeric_dtype

    return column in table.columns and is_numeric_dtype(table[column]) and bool((table[column] <= 1).all())


def _meant(word: str, columns: Sequence[str]) -> str:
    # Part of a name says more than letters in common do.
    holding = [column for column in columns if word in column]
    return f" (did you mean {holding[0]!r}?)" if len(holding) == 1 else did_you_mean(word, columns)


def _aligned(where: str, table: pd.DataFrame, mixtures: MixtureTable) -> pd.DataFrame:
    known = set(mixtures.labels)
    lone = [label for label in mixtures.labels if label not in table.index]
    if lone:
        raise InputError(
            f"{where} has no row for {len(lone)} of {mixtures.where}'s mixtures, such as {lone[0]!r}; score "
            f"them, or leave them out"
        )
    extra = [label for label in table.index if label not in known]
    if extra:
        raise InputError(
            f"{mixtures.where} has no row for {len(extra)} of {where}'s scores, such as {extra[0]!r}"
        )
    return table.loc[list(mixtures.labels)]


def _same_domains(where: str, there: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in there]
    extra = [name for name in there if name not in wanted]
    if missing:
        raise InputError(
            f"{where} has no column {missing[0]!r}{did_you_mean(missing[0], extra)}; it must be there"
        )
    if extra:
        raise InputError(
            f"{where} has a column {extra[0]!r}{did_you_mean(extra[0], wanted)} that is no domain of the "
            f"scored mixtures"
        )


def _numbers(where: str, table: pd.DataFrame, column: str) -> Floats:
    import pandas as pd

    values = np.asarray(pd.to_numeric(table[column], errors="coerce"), dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        got = table[column].tolist()[wrong[0]]
        raise InputError(f"{_row(where, table, wrong[0])}: {column!r} is {got!r}, wanted a finite number")
    return values


def _row(where: str, table: pd.DataFrame, row: int) -> str:
    name = table.index.name
    return f"{where}, {name} {table.index.tolist()[row]!r}" if name else f"{where}, row {int(row) + 1}"


def _check_sums(where: str, table: pd.DataFrame, raw: Floats) -> None:
    sums = raw.sum(axis=1)
    # N numbers rounded to d decimals sum to 1 within N/2 units of the last decimal.
    tolerance = raw.shape[1] * 0.5 * 10.0 ** -_decimals(raw) + 1e-9
    off = np.flatnonzero(np.abs(sums - 1) > tolerance)
    if len(off):
        hint = ""
        if abs(sums[off[0]] - 100) < 1:
            hint = "; other rows do not sum to 100, so these are no percentages"
        elif (raw > 1).mean() > 0.5:
            hint = "; is this a table of scores?"
        raise InputError(
            f"{_row(where, table, off[0])}: weights sum to {sums[off[0]]:.6g}, wanted 1 ± "
            f"{tolerance:.2g}{hint}"
        )


def _decimals(raw: Floats) -> int:
    """How many decimals the table was rounded to; 6 for one that was not."""
    for decimals in range(1, _MOST_DECIMALS):
        if np.abs(raw - raw.round(decimals)).max() < 1e-12:
            return decimals
    return 6
