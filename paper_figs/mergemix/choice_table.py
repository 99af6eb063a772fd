"""What each way to a ratio gives on test, trained anew (Table 1 of arXiv 2601.17858)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.mergemix.dots import dots, named
from paper_figs.mergemix.set_up import NEEDS, WAYS, ahead, found, scale, shares, trained_once, utilities
from paper_figs.part import Part, Table
from paper_figs.tables import estimate

NAME = "mergemix_choice"
#: arXiv 2601.17858, Table 1, 8B model after 200B tokens; its average is not the mean of the five columns.
_COLUMNS = ("Math", "Code", "Knowledge", "Language", "Reasoning", "Average")
_PRINTED = {
    "Uniform": (57.1, 44.6, 50.0, 76.0, 56.7, 54.2),
    "Adapted RegMix": (59.7, 51.5, 55.5, 78.3, 57.0, 58.1),
    "Manual": (59.3, 50.5, 55.5, 78.9, 57.1, 57.9),
    "MergeMix": (60.4, 51.6, 55.6, 78.9, 57.3, 58.4),
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the test utilities of every way, a panel a utility."""
    content = found(results)
    names, choice = utilities(content), content["choice"]
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.3), layout="constrained")
        grid = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(grid, names, strict=True):
            dots(axes, [choice[way]["by"][name] for way in WAYS], "one")
            axes.set_title(name, loc="left")
        named(grid[0], list(WAYS.values()))
        figure.supxlabel("utility on test, fresh training seeds", fontsize=8)
        return style.save(figure, out / NAME)


def tables(results: Path) -> list[Table]:
    """Return our table, a row a way, and the paper's."""
    content = found(results)
    names = utilities(content)
    datasets = " / ".join(content["datasets"])
    header = ["chosen by", datasets, *names, "overall, ahead of MergeMix"]
    rows = [_row(words, content["choice"][way], names) for way, words in WAYS.items()]
    printed = [[way, *(f"{value:.1f}" for value in values)] for way, values in _PRINTED.items()]
    return [
        Table("Test", [header, *rows]),
        Table("The paper, scores in percent, one run each", [["", *_COLUMNS], *printed]),
    ]


def _row(words: str, way: Mapping[str, Any], names: list[str]) -> list[str]:
    return [
        words,
        shares(way["shares"]),
        *(estimate(way["by"][name]) for name in names),
        ahead(way),
    ]


def _caption(results: Path) -> str:
    content = found(results)
    seeds = content["sizes"]["fresh_seeds"]
    return (
        f"Every ratio is chosen on validation, trained with n = {seeds} seeds that chose nothing, and scored "
        f"on test; intervals are Student's over these seeds, *ahead* is paired by seed."
        f"{trained_once(content['choice'], WAYS)} {scale()} MergeMix: "
        "Gaussian processes on 40 merged starting mixtures, its proposals merged and checked. The rows of "
        "LightGBM use the same 40; as it comes it can split them once at most, and where it sees no "
        "difference between ratios it ends in their middle. *10 runs* are ten trained ratios drawn evenly: "
        "RegMix's regressor is fitted to them, and the best of them stands for ten rounds by hand. The "
        "members' mean is linear in the shares, so it chooses the best dataset alone too. The paper's "
        "baselines start from a production prior."
    )


PART = Part("Ways to a ratio (Table 1)", NEEDS, _caption, draw=draw, tables=tables)
