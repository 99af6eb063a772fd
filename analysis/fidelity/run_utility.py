"""The utility that a run chose for, where several targets have weights, as if it were one more target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from analysis.fidelity.scores import Points
from analysis.fidelity.surrogates import SURROGATES, Contest
from m2m.pipeline.target_utility import METRIC, TargetUtility, utility_of
from m2m.support.arrays import Floats

Counted = TypeVar("Counted", Points, Contest)


@dataclass(frozen=True)
class RunUtility:
    """A run's utility and where it has its zero.

    Attributes:
        name: What the run calls it, such as `italian + javascript`.
        utility: Weights and scales of its targets.
        base: The base model's validation score by target, whose utility is 0.
    """

    name: str
    utility: TargetUtility
    base: Mapping[str, float]

    @classmethod
    def of_results(cls, results: Mapping[str, Any]) -> RunUtility | None:
        """Read it from a run's results; None if the run chose for one target."""
        utility = utility_of(results)
        if utility is None:
            return None
        base = {target: results[METRIC]["validation"][target]["base"] for target in utility.weights}
        return cls(results["target"], utility, base)

    def points(self, targets: Sequence[Points]) -> Points:
        """Put its targets' points together: every score becomes the utility of a model's scores.

        Args:
            targets: The run's targets, with the same mixtures in the same order.

        Returns:
            The utility's points; of examples a sample a target, in the utility's unit.
        """
        by = self._counted({points.target: points for points in targets})
        first = next(iter(by.values()))
        return Points(
            target=self.name,
            metric=METRIC,
            higher_is_better=True,
            labels=first.labels,
            members=first.members,
            merged=self.utility.of({name: points.merged for name, points in by.items()}, self.base),
            trained=self.utility.of({name: points.trained for name, points in by.items()}, self.base),
            again=self.utility.of({name: points.again for name, points in by.items()}, self.base),
            left_out=first.left_out,
            examples=self._examples(by),
        )

    def _examples(self, by: Mapping[str, Points]) -> tuple[tuple[Floats, Floats], ...] | None:
        found = []
        for target, points in by.items():
            if points.examples is None:
                return None
            rate = self.utility.rate(target)
            found += [(rate * merged, rate * trained) for merged, trained in points.examples]
        return tuple(found)

    def contest(self, contests: Sequence[Contest]) -> Contest:
        """Let every surrogate's utility be the same sum of its own scores on the targets."""
        by = self._counted({contest.points.target: contest for contest in contests})
        shares = {name: abs(self.utility.rate(name)) for name in by}
        first = next(iter(by.values()))
        gains: dict[str, Floats] = {
            name: np.sum([shares[target] * contest.gains[name] for target, contest in by.items()], axis=0)
            for name in SURROGATES
            if all(name in contest.gains for contest in by.values())
        }
        points = self.points([contest.points for contest in by.values()])
        # Redrawn examples would change the surrogates of each target, which are added up here.
        points = replace(points, examples=None)
        return Contest(points, first.members, gains, points.trained, points.again, None)

    def _counted(self, by: Mapping[str, Counted]) -> dict[str, Counted]:
        return {target: by[target] for target in self.utility.weights}
