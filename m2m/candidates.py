"""Candidates as users write them: `all`, or a CSV file with a row a candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2m.errors import ConfigError, MixtureError
from m2m.mixture import MergingWeights, Mixture, all_subsets
from m2m.support.csv_tables import number, read_rows
from m2m.support.names import split_label
from m2m.support.schema import check_keys, repeated_at

#: Columns that are not an expert's name.
_NAME, _MEMBERS = "candidate", "members"


@dataclass(frozen=True)
class Candidate:
    """One row of merging weights α.

    Attributes:
        label: Name for people and folders.
        weights: Merging weights, one an expert, of any sign and sum. [N]
    """

    label: str
    weights: tuple[float, ...]


def read_candidates(source: str | Path, experts: Sequence[str]) -> list[Candidate]:
    """Read candidates.

    Args:
        source: `all` for the 2^N − 1 equal-weight subsets, or a CSV file: a column of weights for every
            expert, or a column `members` like `a+b`; and, if wanted, a column `candidate` with names.
        experts: The N expert names, in order.

    Returns:
        M candidates with distinct labels, in the file's order.

    Raises:
        ConfigError: If the file is empty, has columns that are no expert's, lacks an expert's, or names two
            candidates alike.
        InputError: If the file cannot be read.
    """  # noqa: DOC502 - partly raised by what is called
    if source == "all":
        return [Candidate(mixture.label, mixture.weights) for mixture in all_subsets(experts)]
    rows = list(read_rows(Path(source), "the candidates"))
    if not rows:
        raise ConfigError(f"{source} has no candidates: wanted a header and a row a candidate")
    columns = rows[0][1]
    if _MEMBERS in columns:
        check_keys(columns, [_NAME, _MEMBERS], str(source))
    else:
        check_keys(columns, [_NAME, _MEMBERS, *experts], str(source))
        missing = [name for name in experts if name not in columns]
        if missing:
            raise ConfigError(
                f"{source} has no column for {missing}; every expert needs one (0 leaves it out)"
            )
    candidates = [_candidate(row, experts, f"{source}, line {line}") for line, row in rows]
    twice = repeated_at(candidate.label for candidate in candidates)
    if twice is not None:
        first, second = (rows[place][0] for place in twice)
        raise ConfigError(
            f"{source}, lines {first} and {second}: two candidates are called "
            f"{candidates[twice[0]].label!r}; take one out, or name them in a column `candidate`"
        )
    return candidates


def _candidate(row: Mapping[str, str], experts: Sequence[str], where: str) -> Candidate:
    try:
        if _MEMBERS in row:
            mixture = Mixture.subset(experts, split_label(row[_MEMBERS]))
            return Candidate(row.get(_NAME) or mixture.label, mixture.weights)
        weights = tuple(number(row[name]) for name in experts)
    except (MixtureError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    if not all(math.isfinite(weight) for weight in weights):
        raise ConfigError(f"{where}: weights must be finite, got {list(weights)}")
    return Candidate(row.get(_NAME) or MergingWeights.of(experts, weights).label, weights)
