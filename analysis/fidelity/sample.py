"""What correlations are computed from: paired scores, their targets (strata), mixtures and datasets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from m2m.support.arrays import Floats, Ints


@dataclass(frozen=True)
class Sample:
    """Paired scores; a row is one mixture on one target.

    Attributes:
        merged: Surrogate scores. [n]
        trained: Scores of the mixture-trained models. [n]
        stratum: Number of each row's target, 0 … k − 1; rows are only ever compared within a target. [n]
        mixture: Number of each row's mixture, 0 … C − 1; the same in every target. [n]
        members: Dataset names of each mixture, by its number; None if they are not known. [C]
    """

    merged: Floats
    trained: Floats
    stratum: Ints
    mixture: Ints
    members: tuple[tuple[str, ...], ...] | None

    @classmethod
    def single(cls, merged: Floats, trained: Floats, members: tuple[tuple[str, ...], ...] | None) -> Sample:
        """Take one target's scores: every row is its own mixture.

        Args:
            merged: Surrogate scores. [n]
            trained: Scores of the mixture-trained models. [n]
            members: Dataset names of each row's mixture, or None. [n]

        Returns:
            The sample with one stratum.
        """
        rows = np.arange(len(merged))
        return cls(merged, trained, np.zeros_like(rows), rows, members)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.merged)

    @property
    def strata(self) -> int:
        """Number of targets k that have a row."""
        return len(np.unique(self.stratum))

    @property
    def mixtures(self) -> int:
        """Number of mixtures C that have a row."""
        return len(np.unique(self.mixture))

    @property
    def effective_n(self) -> int:
        """Rows less the targets' extra means: n − k + 1, the n of a repeated-measures correlation."""
        return self.n - self.strata + 1

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of all datasets in some mixture, in order of appearance; empty if not known."""
        return tuple(dict.fromkeys(name for mixture in self.members or () for name in mixture))

    def keep(self, rows: NDArray[np.bool_]) -> Sample:
        """Keep some rows.

        Args:
            rows: Which. [n]

        Returns:
            The smaller sample; targets and mixtures keep their numbers.
        """
        return replace(
            self,
            merged=self.merged[rows],
            trained=self.trained[rows],
            stratum=self.stratum[rows],
            mixture=self.mixture[rows],
        )

    def without_singletons(self) -> Sample | None:
        """Drop the mixtures of one dataset, whose merged model is the expert itself.

        Returns:
            The smaller sample; None if members are not known.
        """
        if self.members is None:
            return None
        large = np.array([len(members) > 1 for members in self.members], dtype=bool)
        return self.keep(large[self.mixture])

    def defect(self, smallest: int) -> str | None:
        """Say why no correlation is defined here.

        Args:
            smallest: Fewest rows (counted as `effective_n`) that are enough.

        Returns:
            The reason, or None if all is well.
        """
        broken = int(np.sum(~(np.isfinite(self.merged) & np.isfinite(self.trained))))
        if broken:
            return f"{broken} of {self.n} mixtures have a score that is not finite"
        if self.effective_n < smallest:
            within = "" if self.strata <= 1 else f" over {self.strata} targets"
            return f"{self.n} mixtures{within} are too few: at least {smallest + self.strata - 1} are needed"
        for name, scores in (("merged", self.merged), ("trained", self.trained)):
            if all(np.ptp(scores[self.stratum == s]) == 0 for s in np.unique(self.stratum)):
                return f"all {name} scores are equal: a correlation is not defined"
        return None
