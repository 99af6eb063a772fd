"""Merging beside what its own experts say without merging: agreement, leads, choices, as one result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.fidelity.intervals import IntervalEstimate
from analysis.fidelity.leads import COMPARED, Compared, compare
from analysis.fidelity.run_utility import RunUtility
from analysis.fidelity.scores import Points
from analysis.fidelity.surrogates import SURROGATES, Contest, members_of
from analysis.fidelity.utilities import Choices, Picked, choose
from m2m.errors import InputError

#: Similarities of datasets to targets: target to dataset to number.
Similarities = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Beside:
    """What stands beside merging.

    Attributes:
        by: Target to surrogate to how it compares, over mixtures of at least two datasets.
        pooled: Surrogate to the same over all these targets, within each; None for fewer than two.
        choices: Kind of utilities to what the surrogates' picks lose.
        picks: Every single choice.
        left_out: Target to why nothing can stand beside merging there.
        reason: Why there are no choices; empty if there are.
    """

    by: dict[str, dict[str, Compared]]
    pooled: dict[str, Compared] | None
    choices: dict[str, Choices]
    picks: list[Picked] = field(repr=False)
    left_out: dict[str, str]
    reason: str = ""

    @property
    def overall(self) -> dict[str, Compared]:
        """The pooled comparison, or the only target's; empty if there is none."""
        return self.pooled or next(iter(self.by.values()), {})

    def to_json(self) -> dict[str, Any]:
        """Lay the result out for JSON; the single choices stand in a table instead."""
        return {
            "surrogates": {name: SURROGATES[name] for name in self.overall},
            "overall": {name: _compared_json(found) for name, found in self.overall.items()},
            "by": {
                target: {name: _compared_json(found) for name, found in surrogates.items()}
                for target, surrogates in self.by.items()
            },
            "choices": {kind: _choices_json(found) for kind, found in self.choices.items()},
            "left_out": self.left_out,
            "reason": self.reason,
        }


def beside(
    targets: Sequence[Points],
    *,
    similarities: Similarities | None = None,
    chosen_for: RunUtility | None = None,
    seed: int = 0,
) -> Beside:
    """Hold the surrogates that need no merging against merging.

    Args:
        targets: Points of each target; every dataset alone must be among the mixtures.
        similarities: How similar each dataset is to each target, by target, then dataset; None: not known.
        chosen_for: The utility that a run chose for, where several targets have weights; it is asked about as
            a target is, and counts in nothing pooled.
        seed: Decides which pairs and triples of targets are asked about if there are thousands.

    Returns:
        Correlations with the truth over mixtures of at least two datasets, merging's lead with intervals, and
        the regret of each surrogate's pick. Targets whose experts have no scores are left out, with the
        reason.
    """
    contests, left_out = [], {}
    for points in targets:
        try:
            members = members_of(points)
        except InputError as error:
            left_out[points.target] = str(error)
            continue
        contests.append(Contest.of(points, members, (similarities or {}).get(points.target)))
    if not contests:
        return Beside({}, None, {}, [], left_out, "no target has its experts' scores")
    choices, picks, reason = choose(contests, seed)
    by = {contest.points.target: compare([contest]) for contest in contests}
    pooled = compare(contests) if len(contests) > 1 else None
    if chosen_for is not None and not left_out:
        contest = chosen_for.contest(contests)
        by = {chosen_for.name: compare([contest])} | by
        alone, its_picks, _ = choose([contest], seed)
        choices = dict(zip([chosen_for.name], alone.values(), strict=False)) | choices
        picks = its_picks + picks
    return Beside(by, pooled, choices, picks, left_out, reason)


def _compared_json(found: Compared) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in COMPARED},
        "n": found.n,
        "reason": found.reason,
        **{f"{name}_lead": _estimate_json(getattr(found, f"{name}_lead")) for name in COMPARED},
    }


def _choices_json(found: Choices) -> dict[str, Any]:
    return {
        "utilities": found.utilities,
        "best_is_mixed": found.best_is_mixed,
        "picked_one": found.picked_one,
        "regret": {name: _estimate_json(estimate) for name, estimate in found.regret.items()},
        "lead": {name: _estimate_json(estimate) for name, estimate in found.lead.items()},
    }


def _estimate_json(estimate: IntervalEstimate) -> dict[str, Any]:
    # There is no test of "no difference" beside the interval.
    return {name: value for name, value in estimate.to_json().items() if name != "p"}


def beside_table(found: Beside) -> pd.DataFrame:
    """Return every correlation and lead as a row: a target, a surrogate, a coefficient."""
    columns = ["target", "surrogate", "coefficient", "value", "n", "lead", "low", "high", "method", "reason"]
    return pd.DataFrame(list(_beside_rows(found)), columns=columns)


def _beside_rows(found: Beside) -> Iterator[tuple[Any, ...]]:
    parts = dict(found.by)
    if found.pooled is not None:
        parts["(all targets)"] = found.pooled
    for target, surrogates in parts.items():
        for name, compared in surrogates.items():
            for coefficient in COMPARED:
                lead: IntervalEstimate = getattr(compared, f"{coefficient}_lead")
                value = getattr(compared, coefficient)
                ends = lead.value, lead.low, lead.high, lead.method
                yield target, name, coefficient, value, compared.n, *ends, compared.reason or lead.reason


def regrets_table(found: Beside) -> pd.DataFrame:
    """Return every choice as a row: a utility (its targets, joined by +) and a surrogate."""
    columns = ["targets", "utility", "surrogate", "picked", "picked_size", "regret", "oracle", "oracle_size"]
    rows = [
        (
            len(p.targets),
            " + ".join(p.targets),
            p.surrogate,
            p.picked,
            p.size,
            p.regret,
            p.oracle,
            p.oracle_size,
        )
        for p in found.picks
    ]
    return pd.DataFrame(rows, columns=columns)
