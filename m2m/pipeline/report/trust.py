"""What few trainings say about a run's pick, in words: for the report and for the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from m2m.pipeline.report.page import paragraph, section, table

#: What a mixture was trained for.
_PURPOSES = {
    "random": "drawn by chance",
    "top": "the best merged score left",
    "next": "expected to shrink the pick's regret most",
}

#: How the section begins where some mixtures were trained, and where all were in the end.
_SOME = (
    "Some mixtures of two or more datasets were really trained: half drawn by chance, which alone can "
    "say how well merged scores agree with trained ones, and half the pick's contenders. Single "
    "datasets cost nothing: their merged models are the trained ones. From all of them follows a belief "
    "in every mixture's trained score, and from that what the pick may lose against the best of all, "
    "those that nobody trained among them (docs/theory.md)."
)
_ALL = (
    "Every mixture of two or more datasets was really trained, so the pick is the best of all by their "
    "validation scores: that is measured, each with one training seed."
)

#: A training that leaves more of the expected regret than this is not worth its while.
_NO_GAIN = 0.99


def trust_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is known about the pick after trainings, each with its name.

    Args:
        found: `trust` of `results.json`.
    """
    yield "trainings", f"{_made(found)}; {found['stopped']}"
    if "pick" not in found:
        yield "regret", f"not known: {found.get('reason', 'nothing was trained')}"
        return
    if all_trained(found):
        yield "regret", "none that these trainings show: all are trained, and the pick scores best of all"
        if found["merging"]["mixture"] != found["pick"]["mixture"]:
            yield "regret of merging's pick", f"about {found['merging']['regret']:.3g}"
        yield "agreement", _agreement(found["pearson"])
        return
    scale = f"trained scores range over about {found['range']:.3g}"
    yield "regret", f"{_regret(found['pick'], found)} ({scale})"
    if found["merging"]["mixture"] != found["pick"]["mixture"]:
        yield "regret of merging's pick", _regret(found["merging"], found)
    yield "agreement", _agreement(found["pearson"])
    yield "one more training", _next(found)


def all_trained(found: Mapping[str, Any]) -> bool:
    """Whether every mixture is trained in the end, so that the best is known and nothing is believed."""
    return "pick" in found and found["trained"] == found["mixtures"]


def trust_section(results: Mapping[str, Any]) -> str:
    """Lay out the report's section on the pick after trainings."""
    found = results["trust"]
    made = [
        (" + ".join(one["mixture"]), _PURPOSES.get(one["purpose"], one["purpose"]) + _free(one))
        for one in found["trainings"]
    ]
    return section(
        "Can the pick be trusted? Few trainings",
        paragraph(_ALL if all_trained(found) else _SOME, "soft"),
        table(["what", "found"], list(trust_rows(found))),
        table(["trained, in order", "because"], made) if made else "",
    )


def _made(found: Mapping[str, Any]) -> str:
    if "mixtures" not in found:
        return f"{len(found['trainings'])} on advice"
    return f"{found['trained']} of {found['mixtures']} mixtures of two or more datasets are trained"


def _free(one: Mapping[str, Any]) -> str:
    return "; it was trained already" if one["free"] else ""


def _regret(taken: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    return (
        f"expected {taken['regret']:.3g}, with {found['limit_level']:.0%} at most {taken['limit']:.3g}; "
        f"within {100 * found['tolerance']:g} % of the best with a probability of {taken['within']:.2f}"
    )


def _agreement(pearson: Mapping[str, Any]) -> str:
    if pearson["value"] is None:
        return f"no correlation: {pearson['reason']}"
    interval = "" if pearson["low"] is None else f" [{pearson['low']:.2f}, {pearson['high']:.2f}]"
    how = "; ".join(filter(None, (pearson.get("method"), pearson.get("reason"))))
    return f"r = {pearson['value']:.2f}{interval} over mixtures of two or more, from {pearson['n']} ({how})"


def _next(found: Mapping[str, Any]) -> str:
    following = found.get("next")
    if following is None:
        return "none is left"
    regrets = f"expected regret {following['regret']:.3g} → {following['after']:.3g}"
    if following["after"] > _NO_GAIN * following["regret"]:
        return f"none by itself is expected to change the pick ({following['mixture']}: {regrets})"
    return f"{following['mixture']} would help most: {regrets}"
