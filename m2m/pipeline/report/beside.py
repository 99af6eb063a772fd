"""The report's section on merging beside what the experts say without merging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m2m.pipeline.report.page import bullets, paragraph, picture, table

_HEAD = ("surrogate", "Pearson", "merging ahead by [95 %]", "Spearman", "merging ahead by [95 %]")
_FIGURE = "fidelity_beside"
_NOT_THERE = "Not in these results, which an earlier m2m wrote: the run's own command writes them anew."


def beside(figures: Path, results: Mapping[str, Any]) -> Iterator[str]:
    """Lay out what costs nothing beside merging: agreement, leads, and what the picks lose."""
    found = results.get("beside", {})
    if not found.get("overall"):
        yield paragraph(found.get("reason") or _NOT_THERE)
        yield bullets(f"{target}: {reason}" for target, reason in found.get("left_out", {}).items())
        return
    yield paragraph(
        "The experts are scored in any case. Whoever only looks at their scores can rank mixtures too: by "
        "the best member's, by the members' mean, by size. Merging is worth its while where it is ahead of "
        "those. Correlations with the trained models' scores are over mixtures of two or more datasets, "
        "within targets; a difference below zero means that merging is behind.",
        "soft",
    )
    yield paragraph(_best_experts(found["choices"]))
    kinds = [kind for kind in found["choices"] if kind != "pairs and triples"]
    rows = [_row(name, found, kinds) for name in found["overall"]]
    head = [*_HEAD, *(f"regret, {kind}" for kind in kinds)]
    yield table(head, rows, _caption(found), picked=found["surrogates"]["merged"])
    yield picture(
        figures,
        _FIGURE,
        "Left: Spearman of each surrogate over mixtures of two or more datasets, dots are targets. Right: "
        "what its picks lose, as a share of the range, with 95 % intervals for new targets.",
    )


def _best_experts(choices: Mapping[str, Any]) -> str:
    single = choices.get("single targets")
    if single is None:
        return "No choices can be compared."
    return (
        f"On {single['picked_one']} of {single['utilities']} targets the mixture that merging picks is a "
        "single dataset: simply the best expert's. Merging is needed where the best mixture is really mixed, "
        f"as on {single['best_is_mixed']} of {single['utilities']} targets here."
    )


def _row(name: str, found: Mapping[str, Any], kinds: list[str]) -> list[str]:
    compared = found["overall"][name]
    agreement = [
        text
        for coefficient in ("pearson", "spearman")
        for text in (_value(compared[coefficient]), _lead(name, compared[f"{coefficient}_lead"]))
    ]
    regrets = [_share(found["choices"][kind]["regret"].get(name)) for kind in kinds]
    return [found["surrogates"][name], *agreement, *regrets]


def _caption(found: Mapping[str, Any]) -> str:
    leads = [found["overall"][name]["spearman_lead"] for name in found["overall"] if name != "merged"]
    methods = dict.fromkeys(lead["method"] for lead in leads if lead["low"] is not None)
    about = f"; intervals of what merging is ahead by: {', '.join(methods)}" if methods else ""
    return (
        f"{found['overall']['merged']['n']} mixtures × targets{about}. Regret: share of the range of trained "
        "scores, intervals: new targets."
    )


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _lead(name: str, lead: Mapping[str, Any]) -> str:
    if name == "merged":
        return ""
    if lead["value"] is None:
        return f"– ({lead['reason']})"
    if lead["low"] is None:
        return f"{lead['value']:+.2f} (no interval: {lead['reason']})"
    return f"{lead['value']:+.2f} [{lead['low']:+.2f}, {lead['high']:+.2f}]"


def _share(regret: Mapping[str, Any] | None) -> str:
    if regret is None or regret["value"] is None:
        return "–"
    if regret["low"] is None:
        return f"{regret['value']:.1%}"
    return f"{regret['value']:.1%} [{regret['low']:.1%}, {regret['high']:.1%}]"
