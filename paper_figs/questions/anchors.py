"""Experts anchored on common data, on MergeMix's utilities, one of which plain merges rank badly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.mergemix.set_up import NEEDS, found, utilities
from paper_figs.part import Part, Table
from paper_figs.questions.verdict import verdict
from paper_figs.tables import estimate

NAME = "question_anchors"
#: How far marks of one β lie apart.
_APART = 0.012


def _draw(results: Path, out: Path) -> list[Path]:
    content = found(results)
    with style.look():
        figure = Figure(figsize=(style.COLUMN, 2.8), layout="constrained")
        axes = figure.subplots()
        for at, name in enumerate(utilities(content)):
            rows = content["anchors"][name]
            shares = [row["share"] for row in rows]
            ranks = [row["spearman"] for row in rows]
            values, ends = [rho["value"] for rho in ranks], [_ends(rho) for rho in ranks]
            axes.errorbar(
                [share + _APART * (at - 1.5) for share in shares],
                values,
                np.transpose(ends),
                color=style.colour(at),
                marker=style.mark(at),
                ms=4,
                lw=1,
                elinewidth=0.8,
                label=name,
            )
        axes.set(xlabel="own data of an expert, β (1: plain)", ylabel="ρ with really trained")
        axes.set_xticks(shares)
        axes.invert_xaxis()
        axes.legend(fontsize=6, loc="lower center")
        return style.save(figure, out / NAME)


def _ends(rho: Mapping[str, Any]) -> tuple[float, float]:
    """Return how far an interval reaches below and above its estimate."""
    if rho["low"] is None:
        return 0.0, 0.0
    return rho["value"] - rho["low"], rho["high"] - rho["value"]


def _tables(results: Path) -> list[Table]:
    content = found(results)
    names = utilities(content)
    by_share = {row["share"]: at for at, row in enumerate(content["anchors"][names[0]])}

    def cells(value: str, at: int) -> list[str]:
        return [estimate(content["anchors"][name][at][value]) for name in names]

    rows = [[f"β = {share:g}", *cells("spearman", at)] for share, at in by_share.items()]
    ahead = [
        [f"β = {share:g} ahead of plain experts", *cells("ahead", at)]
        for share, at in by_share.items()
        if share != 1
    ]
    errors = [[f"error, β = {share:g}", *cells("error", at)] for share, at in by_share.items()]
    return [Table("ρ with really trained", [["", *names], *rows, *ahead, *errors])]


def _caption(results: Path) -> str:
    content = found(results)
    sizes, pairs = content["sizes"], _corrections(content)
    said = "; ".join(
        f"β = {row['share']:g} "
        + verdict(
            row["ahead"],
            "ranks better than plain experts",
            "ranks worse than plain experts",
            "cannot be told from plain experts",
        )
        + f" ({estimate(row['ahead'])})"
        for row in content["anchors"]["overall"]
        if row["share"] != 1
    )
    return (
        f"**Verdict**: on the utility of all capabilities {said}. For other ratios, one seed of experts: "
        f"{pairs}.\n\n{sizes['trained_ratios']} ratios drawn evenly from the simplex, truth of "
        f"{sizes['truth_seeds']} seeds; {content['about']['model']}. An anchored expert trains on β of its "
        "own data and for the rest on all datasets in equal parts, for as many steps as a plain one, so that "
        "it costs no more; a ratio λ is merged with weights (λ − (1 − β)/N)/β, some of them negative. ρ and "
        "the error (root mean square of merged less trained utilities) are means over "
        f"{sizes['fresh_seeds']} seeds of experts, intervals Student's over these seeds; *ahead* is paired "
        "by seed. Capabilities pull apart: over ratios *overall* varies less than they do, and the error of "
        "merging plain experts is then as large as what there is to rank. `anchor` in `[mix]` sets β."
    )


def _corrections(content: Mapping[str, Any]) -> str:
    fidelity = content["fidelity"]["overall"]
    words = {
        "merged": "the plain merge",
        "scheffe": "Scheffé-corrected by all pairs",
        "anchored": "anchored, β = 0.5",
        "quadratic": "a quadratic through the same pairs' scores without a merge",
    }
    return "; ".join(f"{said} ρ = {estimate(fidelity['spearman'][name])}" for name, said in words.items())


PART = Part(
    "Does a corrected proxy help where capabilities pull apart?", NEEDS, _caption, draw=_draw, tables=_tables
)
