"""The best merged mixtures beside the pick: how far each is behind, as far as the examples can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from m2m.mixture import Mixture
from m2m.scoring.paired import paired_lead

#: As many mixtures are told of, the pick among them.
MOST = 10


def best_merged(
    picked: Mixture,
    candidates: Sequence[Mixture],
    scores: Mapping[str, float],
    examples: Mapping[str, Sequence[float]],
    *,
    upwards: bool,
) -> list[dict[str, Any]]:
    """Return the pick and the mixtures next to it, `best_merged` in `results.json`.

    Args:
        picked: The mixture that merging picked.
        candidates: All that were merged, the pick among them; ties go to fewer datasets, then to this order.
        scores: Merged score by label.
        examples: Each example's merged score by label, [E] each; empty where scores are no means of examples.
        upwards: Whether more is better.

    Returns:
        At most `MOST` mixtures, best first, each with its `score`, the `difference` pick − it, and the same
        with its interval over the examples, `lead`; None where there is none.
    """
    sign = -1 if upwards else 1
    others = [mixture for mixture in candidates if mixture.key != picked.key]
    others.sort(key=lambda mixture: (sign * scores[mixture.label], len(mixture.members)))
    found, ours = [], examples.get(picked.label, ())
    for mixture in [picked, *others[: MOST - 1]]:
        score, theirs = scores[mixture.label], examples.get(mixture.label, ())
        known = mixture is not picked and len(ours) > 1 and len(theirs) == len(ours)
        found.append(
            {
                "mixture": list(mixture.members),
                "score": score,
                "difference": scores[picked.label] - score,
                "lead": asdict(paired_lead(ours, theirs)) if known else None,
            }
        )
    return found
