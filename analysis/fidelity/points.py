"""The points of one target: what was scored, by the merged model and by the mixture-trained one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.fidelity.sample import Sample
from m2m.errors import InputError
from m2m.support.arrays import Floats, Ints, range_fault


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
            rows; None if they are not known. each [n, E]
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
    examples: tuple[Floats, Floats] | None = None

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
    """Put all targets' points into one sample, each target a stratum; equal labels are the same mixture.

    Args:
        points: The targets. [k]

    Returns:
        The sample; members are known if they are in every target.

    Raises:
        InputError: If a label has different members in two targets.
    """
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
