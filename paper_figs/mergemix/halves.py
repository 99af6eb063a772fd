"""A ratio kept through training beside one that is chosen again half way (figure 6b of arXiv 2601.17858)."""

from __future__ import annotations

from pathlib import Path

from paper_figs.mergemix.set_up import NEEDS, found, scale, shares, utilities
from paper_figs.part import Part, Table
from paper_figs.tables import estimate

_WAYS = {"kept": "static: the same ratio goes on", "anew": "dynamic: chosen again half way"}


def tables(results: Path) -> list[Table]:
    """Return one table: a row a way, and their difference."""
    content = found(results)
    names, halves = utilities(content), content["halves"]
    header = ["second half", " / ".join(content["datasets"]), *names]
    rows = [
        [words, shares(halves[way]["shares"]), *(estimate(halves[way]["by"][name]) for name in names)]
        for way, words in _WAYS.items()
    ]
    ahead = ["dynamic ahead of static", "", *(estimate(halves["anew"]["ahead"][name]) for name in names)]
    return [Table("", [header, *rows, ahead])]


def _caption(results: Path) -> str:
    sizes = found(results)["sizes"]
    return (
        f"Half of the steps are trained on MergeMix's ratio; from there experts are trained for the rest, "
        f"merged at the same {sizes['starting_mixtures']} starting mixtures, and a ratio is chosen anew. The "
        f"second half is trained with n = {sizes['fresh_seeds']} seeds and its optimizer begins anew, in "
        f"both ways; test; intervals are Student's over seeds, the difference is paired. {scale()} The paper "
        "finds nearly the same ratio and no gain, and prints no number."
    )


PART = Part("Static and dynamic ratios (figure 6b)", NEEDS, _caption, tables=tables)
