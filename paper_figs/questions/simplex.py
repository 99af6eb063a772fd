"""Weighted mixtures: merged against trained at ratios of the simplex; and proxies that are corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.part import Part, Table
from paper_figs.questions.verdict import ABOUT, about, verdict
from paper_figs.tables import estimate, result, written

EXPERIMENT = "question_simplex"
_WORDS = {
    "merged": "merged",
    "scheffe": "merged, Scheffé-corrected",
    "anchored": "merged of anchored experts",
    "weighted_mean": "weighted mean of the members' experts (no merge)",
}
#: Below this ρ of a target's plain merge it is called failing.
_FAILING = 0.8


def _draw_weighted(results: Path, out: Path) -> list[Path]:
    content = result(results, EXPERIMENT)
    with style.look():
        figure = Figure(figsize=(style.COLUMN, 3.4), layout="constrained")
        axes = figure.subplots()
        for at, target in enumerate(content["targets"]):
            own = [point for point in content["points"] if point["target"] == target]
            look: Any = {"color": style.colour(at), "marker": style.mark(at), "s": 14}
            axes.scatter([p["merged"] for p in own], [p["trained"] for p in own], label=target, **look)
        style.identity(axes, content["points"][0]["merged"])
        axes.set(xlabel="merged: gain over the base, nat", ylabel="trained on the ratio")
        axes.legend(fontsize=6)
        return style.save(figure, out / "question_weighted")


def _weighted_tables(results: Path) -> list[Table]:
    return [_table(result(results, EXPERIMENT), ("merged", "weighted_mean"))]


def _table(content: Mapping[str, Any], names: Sequence[str]) -> Table:
    header = ["surrogate", "ρ", "r", "ρ less the plain merge's", "r less the plain merge's", "error, nat"]
    rows = [
        [
            _WORDS[name],
            estimate(found["spearman"]),
            estimate(found["pearson"]),
            "–" if name == "merged" else estimate(found["spearman_lead"]),
            "–" if name == "merged" else estimate(found["pearson_lead"]),
            written(found["error"], ".3f"),
        ]
        for name in names
        for found in [content["by"][name]]
    ]
    return Table("", [header, *rows])


def _weighted_caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    plain, subsets = content["by"]["merged"], content["subsets"]
    said = verdict(
        content["by"]["weighted_mean"]["spearman_lead"],
        "the weighted mean of the experts' own scores, without a merge, ranks ratios better than merging",
        "merging ranks ratios better than the weighted mean of the experts' own scores",
        "no difference between merging and the weighted mean of the experts' own scores can be told",
    )
    return (
        f"**Verdict**: at ratios drawn from the simplex ρ is {estimate(plain['spearman'])}, on subsets of "
        f"equal parts {estimate(subsets['spearman'])}; {said}.\n\n{about(content)}; "
        f"{content['sizes']['ratios']} ratios drawn evenly from the simplex × "
        f"{content['sizes']['targets']} targets, and {subsets['n']} subsets of two or more; all trained with "
        "one seed, validation. At such ratios every dataset is a member, so the best member is the same "
        f"everywhere and says nothing. {ABOUT}"
    )


WEIGHTED = Part(
    "Weighted mixtures", (EXPERIMENT,), _weighted_caption, draw=_draw_weighted, tables=_weighted_tables
)


def _draw_corrected(results: Path, out: Path) -> list[Path]:
    content = result(results, EXPERIMENT)
    with style.look():
        figure = Figure(figsize=(style.COLUMN, 2.8), layout="constrained")
        _by_target(figure.subplots(), content)
        return style.save(figure, out / "question_corrected")


def _by_target(axes: Axes, content: Mapping[str, Any]) -> None:
    looks = {"scheffe": (style.BLUE, "o"), "anchored": (style.VERMILION, "s")}
    plain = content["by"]["merged"]["pearson_by_target"]
    for name, (color, marker) in looks.items():
        own = content["by"][name]["pearson_by_target"]
        axes.scatter(plain, own, s=18, color=color, marker=marker, label=_WORDS[name])
    style.identity(axes, 1.0)
    axes.set(xlabel="r, plain merge", ylabel="r, corrected")
    axes.locator_params(nbins=5)
    axes.legend(fontsize=6)


def _corrected_tables(results: Path) -> list[Table]:
    return [_table(result(results, EXPERIMENT), ("merged", "scheffe", "anchored"))]


def _corrected_caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    said = "; ".join(
        f"{_WORDS[name]}: "
        + verdict(
            content["by"][name]["pearson_lead"],
            "better than the plain merge", "worse than the plain merge", "no difference in r can be told",
        )
        + f" ({estimate(content['by'][name]['pearson_lead'])})"
        for name in ("scheffe", "anchored")
    )  # fmt: skip
    plain = content["by"]["merged"]["pearson_by_target"]
    failing = [at for at, r in enumerate(plain) if r < _FAILING]
    raised = sum(content["by"]["scheffe"]["pearson_by_target"][at] > plain[at] for at in failing)
    where = (
        f"The plain merge fails (r < {_FAILING}) on {len(failing)} of {len(plain)} targets; Scheffé's "
        f"correction raises r on {raised} of these."
        if failing
        else f"The plain merge fails (r < {_FAILING}) on none of {len(plain)} targets."
    )
    return (
        f"**Verdict**: {said}. {where}\n\n{about(content)}; {content['sizes']['ratios']} ratios × "
        f"{content['sizes']['targets']} targets. The correction has {content['pairs']} pairs trained "
        f"besides, anchored experts (β = {content['anchor']:g}) are as many as plain ones; merging weights "
        f"are negative where a ratio asks for less than every expert saw. Error: root mean square of "
        f"surrogate less trained scores. {ABOUT}"
    )


CORRECTED = Part(
    "Does a corrected proxy raise fidelity where the plain one fails?", (EXPERIMENT,), _corrected_caption,
    draw=_draw_corrected, tables=_corrected_tables,
)  # fmt: skip
