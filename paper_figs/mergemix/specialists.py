"""Mixtures for one capability: MergeMix's, its best dataset alone, mostly that (figure 5 of 2601.17858)."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.mergemix.dots import dots, named
from paper_figs.mergemix.set_up import NEEDS, found, scale, shares, trained_once
from paper_figs.part import Part, Table
from paper_figs.tables import estimate

NAME = "mergemix_specialists"
_WAYS = {
    "mergemix": "MergeMix for this capability",
    "aggressive": "70 % best dataset, 30 % others",
    "single": "best dataset alone",
    "uniform": "equal shares",
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw each specialist's own utility on test."""
    by = found(results)["specialists"]
    with style.look():
        figure = Figure(figsize=(style.PAGE, 1.7), layout="constrained")
        grid = figure.subplots(1, len(by), squeeze=False, sharey=True)[0]
        for axes, (name, ways) in zip(grid, by.items(), strict=True):
            dots(axes, [ways[way]["by"][name] for way in _WAYS], "one")
            axes.set_title(f"specialist in {name}", loc="left")
        named(grid[0], list(_WAYS.values()))
        figure.supxlabel("its own utility on test, fresh training seeds", fontsize=8)
        return style.save(figure, out / NAME)


def tables(results: Path) -> list[Table]:
    """Return one table: a row a capability and way."""
    content = found(results)
    header = ["specialist in", "way", " / ".join(content["datasets"]), "its utility", "ahead of MergeMix's"]
    rows = [
        [
            name,
            words,
            shares(ways[way]["shares"]),
            estimate(ways[way]["by"][name]),
            "–" if way == "mergemix" else estimate(ways[way]["ahead"][name]),
        ]
        for name, ways in content["specialists"].items()
        for way, words in _WAYS.items()
    ]
    return [Table("", [header, *rows])]


def _caption(results: Path) -> str:
    content = found(results)
    seeds = content["sizes"]["fresh_seeds"]
    once = "".join(dict.fromkeys(trained_once(ways, _WAYS) for ways in content["specialists"].values()))
    return (
        f"n = {seeds} fresh seeds, test; intervals are Student's over seeds, *ahead* is paired by seed."
        f"{once} {scale()} The best dataset is that of the best expert on validation, which is also "
        "what the best member's score chooses without a merge. The paper's figure 5 has bars without "
        "intervals, and no numbers in its text: its mixture beats a single domain and an aggressive mix."
    )


PART = Part("Specialists (figure 5)", NEEDS, _caption, draw=draw, tables=tables)
