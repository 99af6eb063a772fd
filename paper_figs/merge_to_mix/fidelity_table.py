"""Pearson's r by target, beside the paper's, the free baselines' and the ceiling of training noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_figs.merge_to_mix.set_ups import NEEDS, SetUp, found
from paper_figs.part import Part, Table
from paper_figs.tables import estimate, written

_HEADER = (
    "target", "n", "r, merged", "with single datasets", "r, best member's expert", "r, mean of members",
    "merged minus best member", "two seeds of the truth", "the paper",
)  # fmt: skip


def tables(results: Path) -> list[Table]:
    """Return a table a set-up: all targets together, then each."""
    return [_table(results / one.experiment, one, content) for one, content in found(results)]


def _table(folder: Path, one: SetUp, content: Mapping[str, Any]) -> Table:
    fidelity = json.loads((folder / "fidelity.json").read_text(encoding="utf-8"))
    beside = fidelity["beside"]
    rows = [_row("all, within targets", fidelity, beside["overall"], f"{one.printed_r:.2f}")]
    utility = content["choice"]["for"]
    rows += [
        _row("utility of these" if name == utility else name, of, beside["by"].get(name, {}), "")
        for name, of in fidelity["by"].items()
    ]
    return Table(content["about"]["title"], [_HEADER, *rows])


def _row(name: str, of: Mapping[str, Any], beside: Mapping[str, Any], printed: str) -> list[str]:
    best, mean = (beside.get(surrogate, {}) for surrogate in ("best_member", "mean_of_members"))
    r = of["mixtures"]["pearson"]
    return [
        name,
        str(r["n"]),
        estimate(r),
        estimate(of["with_singletons"]["pearson"]),
        written(best.get("pearson")),
        written(mean.get("pearson")),
        estimate(best.get("pearson_lead")),
        estimate(of["ceiling"]["pearson"]),
        printed,
    ]


def _caption(results: Path) -> str:
    return (
        "Pearson's r of trained scores with merged ones, and with what the experts' own scores say without "
        "any merge: the best member's, and the members' mean. Over mixtures of two or more datasets, on "
        "validation; *with single datasets* counts those too, which flatters. The lead is paired, over "
        "other examples and seeds where the truth has two. *Two seeds of the truth* is how far training "
        "agrees with itself: no surrogate can be expected above it."
    )


PART = Part("Correlation by target", NEEDS, _caption, tables=tables)
