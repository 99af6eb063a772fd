"""What a run chooses for when several targets count at once: one number a model, the weighted utility.

A target's score is counted in standard deviations of its candidates' merged scores, so that a loss in nat and
an accuracy, or an easy target and a hard one, count alike; weights then say what matters how much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from m2m.pipeline.headlines import headline
from m2m.support.arrays import Floats

#: What results call the number.
METRIC = "utility"

Score = TypeVar("Score", float, Floats)


@dataclass(frozen=True)
class TargetUtility:
    """U = Σ_t w_t · (gain_t over the base model) / scale_t, Σ w = 1; higher is better, the base has 0. Ours.

    Attributes:
        weights: w by target, summing to one.
        scales: Standard deviation of the merged validation scores of all candidates, by target, in the
            target's unit; 1 where all are equal.
        higher_is_better: Direction of the metric that decides on a target, by target.
    """

    weights: Mapping[str, float]
    scales: Mapping[str, float]
    higher_is_better: Mapping[str, bool]

    @classmethod
    def over(
        cls,
        weights: Mapping[str, float],
        merged: Mapping[str, Iterable[float]],
        higher_is_better: Mapping[str, bool],
    ) -> TargetUtility:
        """Take the scales from all candidates' merged validation scores, by target."""
        spreads = {target: float(np.std(list(merged[target]))) for target in weights}
        scales = {target: spread or 1.0 for target, spread in spreads.items()}
        return cls(weights, scales, {target: higher_is_better[target] for target in weights})

    def of(self, scores: Mapping[str, Score], base: Mapping[str, float]) -> Score:
        """Return the utility of scores by target, beside the base model's on the same split.

        Args:
            scores: Numbers, or arrays of one shape, by target.
            base: The base model's score by target.

        Returns:
            The utility, in standard deviations.
        """
        return sum(self.rate(target) * (scores[target] - base[target]) for target in self.weights)  # type: ignore[return-value]

    def rate(self, target: str) -> float:
        """What a unit more of a target's score adds to the utility; negative for a loss."""
        return (1.0 if self.higher_is_better[target] else -1.0) * self.weights[target] / self.scales[target]

    def to_json(self) -> dict[str, Any]:
        """Lay it out as in `results.json`, where `metrics` says the rest."""
        return {"weights": dict(self.weights), "scales": dict(self.scales)}


def utility_of(results: Mapping[str, Any]) -> TargetUtility | None:
    """Read a run's utility from its results; None if it chose for one target."""
    found = results.get(METRIC)
    if found is None:
        return None
    directions = {target: headline(results, target)[1] for target in found["weights"]}
    return TargetUtility(found["weights"], found["scales"], directions)
