"""The top of the page: what was picked, how sure that is, what it saves and what to distrust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m2m.pipeline.report.caveats import interval_about
from m2m.pipeline.report.cost import Cost, cost_in_words
from m2m.pipeline.report.page import card, cards
from m2m.pipeline.report.runner_up import runner_up
from m2m.pipeline.report.test_scores import MODELS, direction, number, taken
from m2m.pipeline.report.trust import all_trained

_Results = Mapping[str, Any]
#: Doubts that the last card names.
_TOLD = 2


def summary(results: _Results, found: Cost, doubts: Sequence[str]) -> str:
    """Lay out the four cards.

    Args:
        results: Content of `results.json`.
        found: What merging saved.
        doubts: What limits the conclusions, the heaviest first.

    Returns:
        The cards.
    """
    return cards(
        [
            card("What it gains", *_gain(results), "pick"),
            card("How sure", *_sure(results)),
            card("What merging saves", f"{found.times:.3g}× fewer trainings", cost_in_words(found)),
            card("What to distrust", *_distrust(doubts), "warn"),
        ]
    )


def _gain(results: _Results) -> tuple[str, list[str]]:
    test, row = results["test"], taken(results)
    score, metric, base = test[row], results["metric"], test.get("base")
    beside = [
        f"{MODELS[name]}: {number(test[name])}"
        for name in ("all", "similarity", "random", "oracle")
        if test.get(name) is not None
    ]
    lines = [" · ".join(beside)] if beside else []
    about = f"test {metric} on {results['target']}, {direction(results)}"
    if base is None:
        return number(score), [about, *lines]
    return f"{number(base)} → {number(score)}", [f"{about}: base model → the pick", *lines]


def _sure(results: _Results) -> tuple[str, list[str]]:
    lines = [said] if (said := runner_up(results)) else []
    trust, fidelity = results.get("trust", {}), results["fidelity"].get(results["target"])
    if "pick" in trust:
        value, more = _believed(trust)
    elif fidelity is not None:
        value, more = _measured(fidelity)
    else:
        value = "not measured"
        more = [f"Merged scores alone say so. {_what_to_train(2 ** len(results['datasets']) - 1)}".strip()]
    return value, [*more, *lines]


def _what_to_train(mixtures: int) -> str:
    """Say how more is learnt of a pick; of so few mixtures that trainings can compare none, nothing."""
    if mixtures < 7:  # two datasets: their only mixture
        return ""
    which = "all mixtures" if mixtures == 7 else "four mixtures"
    option = "--validate" if mixtures == 7 else "--validate 4"
    return f"`m2m run` with {option} trains {which} too, which says how far off it may be."


def _believed(trust: Mapping[str, Any]) -> tuple[str, list[str]]:
    if all_trained(trust):
        return "the best of all", [f"All {trust['mixtures']} mixtures of two or more datasets were trained."]
    pick = trust["pick"]
    return f"{pick['within']:.0%} within {trust['tolerance']:.0%} of the best", [
        f"It loses {pick['regret']:.3g} in expectation, with {trust['limit_level']:.0%} at most "
        f"{pick['limit']:.3g}, of a range of {trust['range']:.3g}.",
        f"From {trust['trained']} of {trust['mixtures']} mixtures trained.",
    ]


def _measured(fidelity: Mapping[str, Any]) -> tuple[str, list[str]]:
    pearson = fidelity["mixtures"]["pearson"]
    rank = fidelity.get("rank")
    value = "every mixture trained" if rank is None else f"number {rank} of {fidelity.get('candidates', '?')}"
    lines = []
    if fidelity.get("regret") is not None:
        lines.append(f"by trained scores; it loses {number(fidelity['regret'])} against the best.")
    if pearson["value"] is not None:
        interval = interval_about(pearson, "these mixtures")
        between = "" if interval.get("low") is None else f" [{interval['low']:.2f}, {interval['high']:.2f}]"
        lines.append(f"Merged and trained scores: r = {pearson['value']:.2f}{between}, n = {pearson['n']}.")
    return value, lines


def _distrust(doubts: Sequence[str]) -> tuple[str, list[str]]:
    left = len(doubts) - _TOLD
    more = [f"and {left} more, under “Read with care”"] if left > 0 else []
    return f"{len(doubts)} points" if len(doubts) > 1 else "1 point", [*doubts[:_TOLD], *more]
