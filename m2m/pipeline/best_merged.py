"""The best merged mixtures beside the pick: how far each is behind, as far as the examples can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from m2m.mixture import Mixture
from m2m.scoring.paired import paired_lead, weighted_lead

#: As many mixtures are told of, the pick among them.
MOST = 10


@dataclass(frozen=True)
class Part:
    """One target's part in a score.

    Attributes:
        rate: What a unit of the target's score adds.
        examples: Each validation example's merged score by label, [E] each; empty where scores are no means.
    """

    rate: float
    examples: Mapping[str, Sequence[float]]


def best_merged(
    picked: Mixture,
    candidates: Sequence[Mixture],
    scores: Mapping[str, float],
    parts: Sequence[Part],
    *,
    upwards: bool,
) -> list[dict[str, Any]]:
    """Return the pick and the mixtures next to it, `best_merged` in `results.json`.

    Args:
        picked: The mixture that merging picked.
        candidates: All that were merged, the pick among them; ties go to fewer datasets, then to this order.
        scores: Merged score by label.
        parts: What a score is the sum of.
        upwards: Whether more is better.

    Returns:
        At most `MOST` mixtures, best first, each with its `score`, the `difference` pick − it, and the same
        with its interval over the examples, `lead`; None where some target's scores are no means of examples.
    """
    sign = -1 if upwards else 1
    others = [mixture for mixture in candidates if mixture.key != picked.key]
    others.sort(key=lambda mixture: (sign * scores[mixture.label], len(mixture.members)))
    return [
        {
            "mixture": list(mixture.members),
            "score": scores[mixture.label],
            "difference": scores[picked.label] - scores[mixture.label],
            "lead": None if mixture is picked else _lead(picked.label, mixture.label, parts),
        }
        for mixture in [picked, *others[: MOST - 1]]
    ]


def _lead(ours: str, theirs: str, parts: Sequence[Part]) -> dict[str, Any] | None:
    pairs = [(part.examples.get(ours, ()), part.examples.get(theirs, ())) for part in parts]
    if not all(1 < len(one) == len(other) for one, other in pairs):
        return None
    leads = [paired_lead(one, other) for one, other in pairs]
    return asdict(weighted_lead([part.rate for part in parts], leads))
