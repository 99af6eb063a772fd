"""Is the merge itself better than training on the mixture: on test, all mixtures, and the pick."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.part import Part, Table
from paper_figs.questions.verdict import ABOUT, about, verdict
from paper_figs.tables import estimate, result, written

EXPERIMENT, NAME = "question_deploy", "question_deploy"
_WAYS = {
    "trained": "trained on it, T steps",
    "trained_twice": "trained on it, 2T steps",
    "merged": "the merge",
    "scaled": "the merge, moved to its best place on validation",
    "tuned_half": "fine-tuned from the merge, T/2 steps",
    "tuned": "fine-tuned from the merge, T steps",
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw test gains of merged against trained models, and of every model of the pick."""
    content = result(results, EXPERIMENT)
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
        rows = content["all"]["by_mixture"]
        left.scatter([r["merged"] for r in rows], [r["trained"] for r in rows], s=16, color=style.BLUE)
        style.identity(left, rows[0]["merged"])
        left.set(xlabel="merged: mean test gain, nat", ylabel="trained on the mixture")
        left.set_box_aspect(1)
        left.locator_params(nbins=4)
        _ways(right, content["ways"])
        return style.save(figure, out / NAME)


def _ways(axes: Axes, ways: Mapping[str, Any]) -> None:
    for row, name in enumerate(_WAYS):
        found = ways[name]
        each = found["by_target"]
        axes.scatter(each, [row] * len(each), s=8, color=style.SKY)
        color = style.VERMILION if name in ("merged", "scaled") else style.BLUE
        axes.scatter([found["gain"]], [row], s=28, color=color, marker="D", zorder=3)
    axes.axvline(0, color=style.GREY, linewidth=0.8)
    axes.set_yticks(range(len(_WAYS)), list(_WAYS.values()))
    axes.set_ylim(len(_WAYS) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("test gain, nat: targets, mean")


def tables(results: Path) -> list[Table]:
    """Return a row a model of the pick."""
    content = result(results, EXPERIMENT)
    header = ["model of the pick", "seeds", "mean test gain, nat", "more than trained on it"]
    rows = [
        [
            words + (f" (× {content['ways'][name]['scale']:g})" if name == "scaled" else ""),
            str(content["ways"][name]["seeds"]),
            written(content["ways"][name]["gain"], ".3f"),
            "–" if name == "trained" else estimate(content["ways"][name]["more"], ".3f"),
        ]
        for name, words in _WAYS.items()
    ]
    return [Table(f"The pick among mixtures of two or more: {content['picked']}", [header, *rows])]


def _caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    every, ways = content["all"], content["ways"]
    merged = verdict(
        every["more"],
        "over all mixtures merges are better than models trained on the mixture",
        "over all mixtures merges are worse than models trained on the mixture",
        "over all mixtures no difference between merges and trained models can be told",
    )
    picked = "; ".join(
        f"{_WAYS[name]} {verdict(ways[name]['more'], 'gains more', 'gains less', 'cannot be told from it')} "
        f"({estimate(ways[name]['more'], '.3f')})"
        for name in _WAYS
        if name != "trained"
    )
    return (
        f"**Verdict**: {merged} ({estimate(every['more'], '.3f')} nat; better in "
        f"{written(every['merged_better'], '.0%')} of {content['sizes']['mixtures']} mixtures × "
        f"{content['sizes']['targets']} targets). The pick beside training on it for T = {content['steps']} "
        f"steps: {picked}.\n\n{about(content)}; test scores, headline metric; all mixtures with "
        f"{content['truth_seeds']} training seeds, the pick with {ways['trained']['seeds']}. The pick is "
        "merging's, by mean validation gain. A merge has had N experts' training already; training twice as "
        f"long is there for that. {ABOUT}"
    )


PART = Part(
    "Is the merge itself better than training on the mixture?",
    (EXPERIMENT,),
    _caption,
    draw=draw,
    tables=tables,
)
