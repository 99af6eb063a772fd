"""What each way of choosing a mixture gives on test, trained anew: table and figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.merge_to_mix.set_ups import NEEDS, WAYS, found
from paper_figs.part import Part, Table
from paper_figs.tables import estimate, written

NAME = "merge_to_mix_choice"


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the test utility of every choice, a panel a set-up."""
    panels = list(found(results))
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.5), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (_, content) in zip(grid, panels, strict=True):
            _panel(axes, content["choice"])
            axes.set_title(
                f"{content['about']['title']}, {content['choice']['seeds']} training seeds", loc="left"
            )
        grid[0].set_yticks(range(len(WAYS)), list(WAYS.values()))
        grid[0].set_ylim(len(WAYS) - 0.5, -0.5)
        figure.supxlabel("test utility, over the base model", fontsize=8)
        return style.save(figure, out / NAME)


def _panel(axes: Axes, choice: Mapping[str, Any]) -> None:
    for row, name in enumerate(WAYS):
        utility = choice["by"].get(name, {}).get("utility")
        if utility is None:
            continue
        color = {"picked": style.VERMILION, "oracle": style.GREEN}.get(name, style.BLUE)
        marker = {"picked": "D", "oracle": "s"}.get(name, "o")
        axes.plot([utility["value"]], [row], marker=marker, markersize=4.5, color=color, zorder=3)
        if utility["low"] is not None:
            axes.plot([utility["low"], utility["high"]], [row, row], color=color, linewidth=1.2, zorder=2)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)


def tables(results: Path) -> list[Table]:
    """Return a table a set-up: a row a way of choosing."""
    return [_table(content) for _, content in found(results)]


def _table(content: Mapping[str, Any]) -> Table:
    choice = content["choice"]
    targets = list(choice["targets"])
    header = ["chosen by", "mixture", "utility", "ahead of merging's", "regret on validation", *targets]
    base = [
        "base model",
        "–",
        "0",
        "–",
        "–",
        *(written(choice["targets"][t]["base"], ".3f") for t in targets),
    ]
    rows = [_row(WAYS[name], choice["by"][name], targets) for name in WAYS if name in choice["by"]]
    regret = written(choice["regret_of_random"], ".0%")
    chance = ["a mixture by chance, mean of all", "–", "–", "–", regret, *("–" for _ in targets)]
    return Table(f"{content['about']['title']}: test, for {choice['for']}", [header, *rows, chance, base])


def _row(words: str, way: Mapping[str, Any], targets: list[str]) -> list[str]:
    scores = [written(way["scores"][target]["value"], ".3f") for target in targets]
    ahead = "the same mixture" if _same(way) else estimate(way["ahead"])
    return [
        words,
        way["mixture"].replace("+", " + "),
        estimate(way["utility"]),
        ahead,
        written(way["regret"], ".0%"),
        *scores,
    ]


def _same(way: Mapping[str, Any]) -> bool:
    ahead = way["ahead"]
    return bool(ahead["value"] == 0 and ahead["low"] is None)


def _caption(results: Path) -> str:
    seeds = {content["choice"]["seeds"] for _, content in found(results)}
    return (
        f"Every way of choosing has seen validation scores alone. Its mixture is trained with {min(seeds)} "
        "further seeds, which chose nothing, and scored on test: mean and Student's interval over these "
        "seeds, for these test examples. Utility: the targets' mean gain over the base model, each in "
        "standard deviations of its merged scores. *Regret on validation*: what the mixture's first "
        "training lacks to the best, as a share of the range over all mixtures. The oracle is the best of "
        "noisy trainings by their first seed, so its advantage shrinks with fresh ones. The paper prints "
        "that merging's pick beats all datasets and similarity and is close to the oracle; its numbers are "
        "not known to us."
    )


PART = Part("The pick against other choices", NEEDS, _caption, draw=draw, tables=tables)
