"""Ratios between groups of datasets and within them (Table 3 of arXiv 2601.17858)."""

from __future__ import annotations

from pathlib import Path

from paper_figs.mergemix.set_up import NEEDS, found, scale, shares, trained_once, utilities
from paper_figs.part import Part, Table
from paper_figs.tables import estimate

_ROWS = {
    "manual, manual": "prior, prior",
    "mergemix, uniform": "MergeMix, equal shares",
    "mergemix, manual": "MergeMix, prior",
    "mergemix, mergemix": "MergeMix, MergeMix",
    "flat": "on one level: MergeMix",
}
#: arXiv 2601.17858, Table 3: math, code, knowledge, language, reasoning, average.
_COLUMNS = ("Math", "Code", "Knowledge", "Language", "Reasoning", "Average")
_PRINTED = {
    "Manual, Manual": (59.3, 50.5, 55.5, 78.9, 57.1, 57.9),
    "MergeMix, Uniform": (58.7, 51.1, 55.2, 77.9, 56.5, 57.6),
    "MergeMix, Manual": (60.4, 51.6, 55.6, 78.9, 57.3, 58.4),
    "MergeMix, MergeMix": (59.8, 51.3, 55.3, 79.1, 57.2, 58.2),
}


def tables(results: Path) -> list[Table]:
    """Return our table, a row a pair of ways, and the paper's."""
    content = found(results)
    names, levels = utilities(content), content["levels"]
    header = ["between, within", " / ".join(content["datasets"]), *names, "overall, ahead of the prior"]
    rows = [
        [
            words,
            shares(levels[key]["shares"]),
            *(estimate(levels[key]["by"][name]) for name in names),
            "–" if key == "manual, manual" else estimate(levels[key]["ahead"]["overall"]),
        ]
        for key, words in _ROWS.items()
    ]
    printed = [[way, *(f"{value:.1f}" for value in values)] for way, values in _PRINTED.items()]
    return [
        Table("Test", [header, *rows]),
        Table("The paper, scores in percent, one run each", [["", *_COLUMNS], *printed]),
    ]


def _caption(results: Path) -> str:
    content = found(results)
    return (
        f"Top-down: two groups ({_named(content['two_groups'])}) by 21 merges of the groups' experts, then "
        f"within both by 40 merges. n = {content['sizes']['fresh_seeds']} fresh seeds, test; intervals are "
        f"Student's over seeds, *ahead* is paired by seed."
        f"{trained_once(content['levels'], _ROWS)} {scale()} The paper has four domains of fifteen "
        "clusters."
    )


def _named(halves: list[list[str]]) -> str:
    return "; ".join(" and ".join(half) for half in halves)


PART = Part("Ratios on two levels (Table 3)", NEEDS, _caption, tables=tables)
