"""Capabilities: groups of targets that count together, and utilities over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m2m.support.arrays import Floats

#: The utility of all capabilities, which mixtures are chosen for.
OVERALL = "overall"
#: Targets of each capability, by its name.
Groups = Mapping[str, Sequence[str]]


def target_weights(groups: Groups) -> dict[str, float]:
    """Return the weight of every target where capabilities, and targets within them, count the same."""
    return {target: 1 / (len(groups) * len(targets)) for targets in groups.values() for target in targets}


@dataclass(frozen=True)
class Capabilities:
    """Utilities of scores: mean gains over the base model, each target's in its range over some mixtures.

    MergeMix (arXiv 2601.17858, Sec. 3.2) takes the mean of normalised scores and leaves the normalisation
    open. In the range of merged starting mixtures targets of different units count alike, and a gain over the
    base can be read on any split.

    Attributes:
        groups: The targets of each capability.
        ranges: Largest less smallest merged score over the starting mixtures. [T]
    """

    groups: Groups
    ranges: Floats

    @classmethod
    def over(cls, groups: Groups, scores: Floats) -> Capabilities:
        """Take ranges from the scores [M, T] of starting mixtures."""
        ranges = np.ptp(scores, axis=0)
        return cls(groups, np.where(ranges == 0, 1.0, ranges))

    @property
    def names(self) -> list[str]:
        """The utilities: all capabilities, then each."""
        return [OVERALL, *self.groups]

    @property
    def targets(self) -> list[str]:
        """The targets, in the order of scores. [T]."""
        return list(target_weights(self.groups))

    def weights(self, name: str) -> Floats:
        """Return the weight of every target's normalised gain in a utility. [T]."""
        groups = self.groups if name == OVERALL else {name: self.groups[name]}
        given = target_weights(groups)
        return np.array([given.get(target, 0.0) for target in self.targets])

    def of(self, name: str, scores: Floats, base: Floats) -> Floats:
        """Return a utility [...] of scores [..., T] over those of the base model [T], higher is better."""
        utility: Floats = (scores - base) / self.ranges @ self.weights(name)
        return utility
