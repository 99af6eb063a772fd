"""How the experts lie to each other, where the theory has measured it: cosines of task vectors, and γ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from pathlib import Path
from types import NoneType

from m2m.errors import RunFolderError
from m2m.pipeline.report.page import paragraph, shaded
from m2m.support.doors import read_json

_Matrix = Sequence[Sequence[float | None]]
_MATRIX = [[(float, NoneType)]]
_COSINES = (
    "Cosines of the experts' task vectors. Near zero, experts change different things, and merging them is "
    "close to having each; near one, they change the same."
)
_GAMMA = (
    "γ, relative effective curvature (MergeMix, arXiv 2601.17858, eq. 9): how strongly the dataset of the "
    "row bends where the dataset of the column pulls, against its own pull. Small off the diagonal: little "
    "interference."
)
_HOW = "Not measured: `m2m-analysis {0} RUN --out RUN/figures`, then `m2m report RUN`, puts {1} here."


@dataclass(frozen=True)
class Geometry:
    """What is known of how experts lie to each other.

    Attributes:
        names: The experts' datasets. [N]
        cosines: Cosines of task vectors. [N, N] or empty
        gamma: Relative effective curvature, a row a Hessian. [N, N] or empty
    """

    names: Sequence[str] = ()
    cosines: _Matrix = field(default=())
    gamma: _Matrix = field(default=())

    def lines(self, members: Sequence[str]) -> Iterator[str]:
        """Say what is known of a mixture's members, a line a quantity; of many pairs, their range."""
        at = [self.names.index(name) for name in members if name in self.names]
        for what, matrix, pairs in (
            ("cosine", self.cosines, list(combinations(at, 2))),
            ("γ", self.gamma, list(permutations(at, 2))),
        ):
            known = [(i, j, value) for i, j in pairs if matrix and (value := matrix[i][j]) is not None]
            if len(known) > _MOST:
                values = [value for _, _, value in known]
                yield f"{what} of {len(known)} pairs: {min(values):.2f} to {max(values):.2f}"
            else:
                between = " – " if what == "cosine" else " ← "
                named = (f"{self.names[i]}{between}{self.names[j]} {value:.2f}" for i, j, value in known)
                yield from (f"{what} {text}" for text in named)


#: Pairs that are named one by one.
_MOST = 3


def read_geometry(figures: Path, names: Sequence[str]) -> Geometry:
    """Take what `m2m-analysis orthogonality` and `curvature` wrote beside a run's figures."""
    found: dict[str, _Matrix] = {}
    for name, owners, key, kept in (
        ("orthogonality", "experts", "cosine", "cosines"),
        ("curvature", "datasets", "gamma", "gamma"),
    ):
        path = figures / f"{name}.json"
        if not path.exists():
            continue
        shape = {owners: [str], key: _MATRIX}
        content = read_json(path, f"what `m2m-analysis {name}` writes", RunFolderError, shape)
        if list(content[owners]) == list(names):  # else it is of before a dataset came
            found[kept] = content[key]
    return Geometry(names=list(names), **found)


def geometry_section(found: Geometry) -> str:
    """Lay out both as shaded tables, or say how to get what is not there."""
    return '<div class="halves">' + "\n".join(_halves(found)) + "</div>"


def _halves(found: Geometry) -> Iterator[str]:
    for matrix, caption, command, what in (
        (found.cosines, _COSINES, "orthogonality", "the cosines of task vectors"),
        (found.gamma, _GAMMA, "curvature", "γ"),
    ):
        if matrix:
            rows = dict(zip(found.names, matrix, strict=True))
            yield shaded(found.names, rows, caption)
        else:
            yield paragraph(_HOW.format(command, what), "soft")


def described(weights: Mapping[str, float], geometry: Geometry) -> Iterator[str]:
    """Say of a mixture what a pointer at it shows below its scores."""
    if len(set(weights.values())) > 1:
        yield ", ".join(f"{name} {share:.0%}" for name, share in weights.items())
    yield from geometry.lines(list(weights))
