"""What fidelity is computed from: one target's scores, and the paired scores of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from m2m.errors import InputError
from m2m.support.arrays import Floats, Ints, range_fault


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
        """Take one target's scores: every row is its own mixture."""
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

    @property
    def shares_datasets(self) -> bool:
        """Whether two mixtures have a dataset in common; False if that is not known."""
        if self.members is None:
            return False
        names = [name for mixture in np.unique(self.mixture) for name in self.members[mixture]]
        return len(set(names)) < len(names)

    def keep(self, rows: NDArray[np.bool_]) -> Sample:
        """Keep some rows [n]; targets and mixtures keep their numbers."""
        return replace(
            self,
            merged=self.merged[rows],
            trained=self.trained[rows],
            stratum=self.stratum[rows],
            mixture=self.mixture[rows],
        )

    @property
    def sizes(self) -> Ints:
        """Number of datasets of each row's mixture; zeros if they are not known. [n]."""
        if self.members is None:
            return np.zeros(self.n, dtype=np.int64)
        return np.array([len(names) for names in self.members], dtype=np.int64)[self.mixture]

    def without_singletons(self) -> Sample:
        """Drop mixtures of one dataset, whose merged model is the trained one; none if not known."""
        return self.keep(self.sizes != 1)

    def defect(self, smallest: int) -> str | None:
        """Return why no correlation is defined (`effective_n` below `smallest`, say); None if all is well."""
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


@dataclass(frozen=True)
class Points:
    """Scores of one target's candidates; a row is one mixture.

    Attributes:
        target: The target's name.
        metric: What the scores are, with their unit.
        higher_is_better: Direction of the metric.
        labels: Name of each mixture. [n]
        members: Dataset names of each mixture, or None if they are not known. [n]
        merged: Surrogate scores. [n]
        trained: Scores of the mixture-trained models. [n]
        again: Scores of mixture-trained models of another seed, NaN where there is none. [n]
        left_out: Candidates that lack one of the two scores.
        examples: Scores of single examples, of the merged and of the trained models, the same examples in all
            rows: each [n, E], by independent sample; the samples' means add up to the scores, but for a
            constant. A target has one sample, a utility one a target. None if they are not known.
    """

    target: str
    metric: str
    higher_is_better: bool
    labels: tuple[str, ...]
    members: tuple[tuple[str, ...], ...] | None
    merged: Floats
    trained: Floats
    again: Floats
    left_out: int = 0
    examples: tuple[tuple[Floats, Floats], ...] | None = None

    def __post_init__(self) -> None:
        lengths = {"merged": len(self.merged), "trained": len(self.trained), "again": len(self.again)}
        lengths |= {"labels": len(self.labels)} | (
            {"members": len(self.members)} if self.members is not None else {}
        )
        if len(set(lengths.values())) > 1:
            raise InputError(f"target {self.target!r}: columns of different lengths: {lengths}")
        if len(set(self.labels)) < len(self.labels):
            repeated = sorted(label for label, times in Counter(self.labels).items() if times > 1)
            raise InputError(f"target {self.target!r}: mixtures occur more than once: {repeated[:5]}")
        sides = {"merged": self.merged, "trained": self.trained, "second seed's": self.again}
        for name, scores in sides.items():
            if fault := range_fault(scores, f"{name} score"):
                raise InputError(f"target {self.target!r}: {fault}")

    @property
    def n(self) -> int:
        """Number of mixtures."""
        return len(self.labels)

    def sample(self) -> Sample:
        """Return the points as paired scores."""
        return Sample.single(self.merged, self.trained, self.members)

    @property
    def singletons(self) -> int | None:
        """Number of mixtures of one dataset; None if that is not known."""
        return None if self.members is None else int(np.sum(self.sizes == 1))

    def without_singletons(self) -> Points:
        """Drop mixtures of one dataset, whose merged model is the trained one; none if not known."""
        rows = np.flatnonzero(self.sizes != 1)
        return replace(
            self,
            labels=tuple(self.labels[row] for row in rows),
            members=None if self.members is None else tuple(self.members[row] for row in rows),
            merged=self.merged[rows],
            trained=self.trained[rows],
            again=self.again[rows],
            examples=None
            if self.examples is None
            else tuple((merged[rows], trained[rows]) for merged, trained in self.examples),
        )

    def order(self, scores: Floats) -> list[int]:
        """Rank the mixtures: best score first, then fewer datasets, then the order they came in.

        Args:
            scores: A score a mixture, in the metric's direction. [n]

        Returns:
            Row numbers, the pick first. [n]
        """
        signed = -scores if self.higher_is_better else scores
        sizes = self.sizes
        return sorted(range(self.n), key=lambda row: (signed[row], sizes[row], row))

    @property
    def sizes(self) -> Ints:
        """Number of datasets of each mixture; zeros if they are not known. [n]."""
        if self.members is None:
            return np.zeros(self.n, dtype=np.int64)
        return np.array([len(names) for names in self.members], dtype=np.int64)

    @property
    def pick(self) -> int:
        """Row of the mixture whose merged model scores best."""
        return self.order(self.merged)[0]

    @property
    def oracle(self) -> int:
        """Row of the mixture whose trained model scores best."""
        return self.order(self.trained)[0]


def pooled_sample(points: Sequence[Points]) -> Sample:
    """Put all targets into one sample, a stratum each; a name with two sets of members is an InputError."""
    labels = list(dict.fromkeys(label for target in points for label in target.labels))
    number = {label: i for i, label in enumerate(labels)}
    names: dict[str, tuple[str, ...]] = {}
    for target in points:
        for label, members in zip(target.labels, target.members or (), strict=target.members is not None):
            if set(names.setdefault(label, members)) != set(members):
                raise InputError(
                    f"mixture {label!r} has members {list(members)} in target {target.target!r} and "
                    f"{list(names[label])} in another; wanted one mixture a name"
                )
    return Sample(
        merged=np.concatenate([target.merged for target in points]),
        trained=np.concatenate([target.trained for target in points]),
        stratum=np.repeat(np.arange(len(points)), [target.n for target in points]),
        mixture=np.array([number[label] for target in points for label in target.labels], dtype=np.int64),
        members=tuple(names[label] for label in labels) if len(names) == len(labels) else None,
    )
