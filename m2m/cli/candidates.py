"""Candidates as users write them: `all`, or a CSV file with a row a candidate."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2m.config_keys import check_keys
from m2m.errors import ConfigError, MixtureError
from m2m.mixture import Mixture, all_subsets

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


def read_candidates(source: str, experts: Sequence[str]) -> list[Candidate]:
    """Read the candidates of a command line.

    Args:
        source: `all` for the 2^N − 1 equal-weight subsets, or a CSV file: a column of weights for every
            expert, or a column `members` like `a+b`; and, if wanted, a column `candidate` with names.
        experts: The N expert names, in order.

    Returns:
        M candidates with distinct labels, in the file's order.

    Raises:
        ConfigError: If the file cannot be read, is empty, has columns that are no expert's, lacks an
            expert's, or names two candidates alike.
    """
    if source == "all":
        return [Candidate(mixture.label, mixture.weights) for mixture in all_subsets(experts)]
    rows = _read_rows(Path(source))
    columns = [column for column in rows[0] if column != _NAME]
    if _MEMBERS in columns:
        check_keys(rows[0], [_NAME, _MEMBERS], source)
    else:
        check_keys(rows[0], [_NAME, _MEMBERS, *experts], source)
        missing = [name for name in experts if name not in columns]
        if missing:
            raise ConfigError(
                f"{source} has no column for {missing}; every expert needs one (0 leaves it out)"
            )
    # Line 1 is the header.
    candidates = [
        _candidate(row, experts, f"{source}, line {line}") for line, row in enumerate(rows, start=2)
    ]
    labels = [candidate.label for candidate in candidates]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(f"{source}: more than one candidate is called {twice[0]!r}")
    return candidates


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True, strict=True))
    except OSError as error:
        raise ConfigError(f"cannot read the candidates {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a CSV file: {error}") from None
    if not rows:
        raise ConfigError(f"{path} has no candidates: wanted a header and a row a candidate")
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ConfigError(f"{path}, line {line}: wanted as many cells as the header has columns")
    return rows


def _candidate(row: Mapping[str, str], experts: Sequence[str], where: str) -> Candidate:
    try:
        if _MEMBERS in row:
            mixture = Mixture.subset(experts, [name.strip() for name in row[_MEMBERS].split("+")])
            return Candidate(row.get(_NAME) or mixture.label, mixture.weights)
        weights = tuple(float(row[name]) for name in experts)
    except (MixtureError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    if not all(math.isfinite(weight) for weight in weights):
        raise ConfigError(f"{where}: weights must be finite, got {list(weights)}")
    return Candidate(row.get(_NAME) or _label(experts, weights), weights)


def _label(experts: Sequence[str], weights: tuple[float, ...]) -> str:
    try:
        return Mixture(tuple(experts), weights).label
    except MixtureError:  # merging weights need not lie on the simplex
        return "+".join(f"{n}={w:.6g}" for n, w in zip(experts, weights, strict=True) if w) or "zero"
