"""What trust is made from: the scores of a whole space of mixtures, all merged and some trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from m2m.errors import InputError
from m2m.mixture import Mixture, weight_matrix
from m2m.support.arrays import Floats, Ints, range_fault
from m2m.support.schema import repeated

#: A single dataset's trained score that is as close to its merged one, in standard deviations of the merged
#: scores, is the same model's.
SAME_MODEL = 1e-6
#: Most mixtures that are believed in together: the subsets of eleven datasets.
MOST = 2047
#: What a mixture was trained for; the first alone says anything about all mixtures.
RANDOM, TOP, NEXT = PURPOSES = ("random", "top", "next")


@dataclass(frozen=True)
class Landscape:
    """One target's scores; a row is a mixture.

    Attributes:
        mixtures: The space that is chosen from, all N single datasets among it, none twice. [C]
        merged: Scores of the merged models. [C]
        trained: Scores of mixture-trained models, a row a training seed, NaN where none was trained. [S, C]
        target: The target's name.
        metric: What the scores are, with their unit.
        higher_is_better: Direction of the metric.
        purposes: What each mixture was trained for, one of `PURPOSES`, or empty. [C], or none if not known

    Raises:
        InputError: If lengths differ, a mixture is there twice or a single dataset is not, there are more
            than `MOST`, a score is not finite, or all merged ones are equal.
    """

    mixtures: tuple[Mixture, ...]
    merged: Floats
    trained: Floats
    target: str = "all"
    metric: str = "score"
    higher_is_better: bool = True
    purposes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where, count = f"target {self.target!r}", len(self.mixtures)
        self._check_shapes(where, count)
        if not count:
            raise InputError(f"{where}: there are no mixtures")
        if (twice := repeated(mixture.label for mixture in self.mixtures)) is not None:
            raise InputError(f"{where}: mixture {twice!r} is there more than once")
        for kind, scores, fault in (
            ("merged", self.merged, ~np.isfinite(self.merged)),
            ("trained", self.trained, np.isinf(self.trained).any(axis=0)),
        ):
            if fault.any():
                label = self.mixtures[int(np.argmax(fault))].label
                raise InputError(f"{where}: the {kind} score of {label!r} is not finite")
            if said := range_fault(scores, f"{kind} score"):
                raise InputError(f"{where}: {said}")
        if count > MOST:
            raise InputError(f"{where}: {count} mixtures, wanted {MOST} at most: leave out what scores worst")
        self._check_singles(where)
        if not self.several.any():
            raise InputError(f"{where}: no mixture of two or more datasets")
        if np.ptp(self.merged) == 0:
            raise InputError(f"{where}: all merged scores are equal: merging prefers no mixture")

    def _check_shapes(self, where: str, count: int) -> None:
        shapes = self.merged.shape, self.trained.shape[1:], (len(self.purposes) or count,)
        if shapes != ((count,),) * 3 or self.trained.ndim != 2:
            got = f"{list(self.merged.shape)}, {list(self.trained.shape)} and {len(self.purposes)} purposes"
            raise InputError(f"{where}: wanted [C] merged and [S, C] trained scores, C = {count}; got {got}")
        unknown = set(self.purposes) - {*PURPOSES, ""}
        if unknown:
            raise InputError(f"{where}: unknown purpose {min(unknown)!r}; there are {', '.join(PURPOSES)}")

    def _check_singles(self, where: str) -> None:
        there = {mixture.label for mixture in self.mixtures}
        missing = [name for name in self.mixtures[0].datasets if name not in there]
        if missing:
            raise InputError(
                f"{where}: no row of the single dataset {missing[0]!r}; single datasets, whose merged model "
                "is the trained one, are what all else is measured from"
            )

    @cached_property
    def weights(self) -> Floats:
        """Mixture weights λ. [C, N]."""
        return np.array(weight_matrix(self.mixtures), dtype=np.float64)

    @cached_property
    def several(self) -> NDArray[np.bool_]:
        """Whether a mixture has two datasets or more. [C]."""
        many: NDArray[np.bool_] = np.sum(self.weights > 0, axis=1) > 1
        return many

    @property
    def unit(self) -> float:
        """Standard deviation of the merged scores: what all differences are measured in."""
        return float(np.std(self.merged))

    @cached_property
    def trainings(self) -> tuple[Ints, Floats]:
        """The row of each training, and what it adds to the merged score. each [T].

        A trained single dataset whose score is the merged one *is* the merged model, and tells nothing.
        """
        gains = self.trained - self.merged
        news = np.isfinite(gains) & (self.several | (np.abs(gains) > SAME_MODEL * self.unit))
        return np.nonzero(news)[1], gains[news]

    @property
    def measured(self) -> Floats:
        """Mean trained score over the seeds, for a single dataset at least the expert's; else NaN. [C]."""
        seeds = np.isfinite(self.trained)
        total, count = np.where(seeds, self.trained, 0.0).sum(axis=0), seeds.sum(axis=0)
        only = np.where(self.several, np.nan, self.merged)
        return np.where(count > 0, total / np.maximum(count, 1), only)

    @property
    def trained_several(self) -> int:
        """Number of trained mixtures of two or more datasets."""
        return int(np.sum(self.several & np.isfinite(self.measured)))

    def best(self, scores: Floats) -> int:
        """Return the row of the best score [C]; ties go to fewer datasets, then to the first. NaN is none."""
        signed = np.where(np.isnan(scores), -np.inf, scores if self.higher_is_better else -scores)
        sizes = np.sum(self.weights > 0, axis=1)
        return int(np.lexsort((np.arange(len(signed)), sizes, -signed))[0])


def mixtures_of(members: Sequence[Sequence[str] | Mixture]) -> tuple[Mixture, ...]:
    """Read mixtures as public functions take them.

    Args:
        members: A mixture a row: dataset names in equal parts, or a `Mixture`. [C]

    Returns:
        The mixtures, over the datasets in the order in which they first appear. [C]

    Raises:
        InputError: If a row is one text, names a dataset twice, or none.
    """
    for row in members:
        if isinstance(row, str):
            raise InputError(
                f"members: wanted names of datasets a mixture, got the text {row!r}: write [{row!r}]"
            )
    names = [row.datasets if isinstance(row, Mixture) else tuple(row) for row in members]
    datasets = tuple(dict.fromkeys(name for row in names for name in row))
    return tuple(
        Mixture(datasets, tuple(row.shares.get(name, 0.0) for name in datasets))
        if isinstance(row, Mixture)
        else Mixture.subset(datasets, row)
        for row in members
    )
