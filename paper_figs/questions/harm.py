"""Why merged models resist harm, if they do: steps, distance from the base, and the path between models."""

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

EXPERIMENT, NAME = "question_harm", "question_harm"
_KINDS = {
    "merged": "merged",
    "as_far": "merge, moved as far as trained",
    "added": "task vectors added up (λ = 1)",
    "trained": "trained, as many steps as an expert",
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw harm against distance, and gains along the path from expert over merge to trained model."""
    content = result(results, EXPERIMENT)
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        _harm(left, content)
        _path(right, content["path"])
        return style.save(figure, out / NAME)


def _harm(axes: Axes, content: Mapping[str, Any]) -> None:
    line = content["line"]
    axes.plot(
        [point["distance"] for point in line],
        [point["harm"] for point in line],
        color=style.BLUE, marker="o", markersize=3, label="merges, moved along their way",
    )  # fmt: skip
    for point in line:
        axes.annotate(
            f"× {point['scale']:g}", (point["distance"], point["harm"]),
            textcoords="offset points", xytext=(6, -3), fontsize=6,
        )  # fmt: skip
    kinds, long = content["kinds"], content["long"]["trained_long"]
    looks = {
        "trained": (kinds["trained"], style.VERMILION, "s", f"trained, T = {content['steps']}"),
        "long": (long, style.ORANGE, "^", f"trained, |S|·T, {content['long']['mixtures']} mixtures"),
    }
    for point, color, marker, label in looks.values():
        axes.scatter([point["distance"]], [point["harm"]], s=28, color=color, marker=marker, label=label)
    axes.set(xlabel="distance from the base, trained = 1", ylabel="mean harm below the base, nat")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=6)


def _path(axes: Axes, path: Mapping[str, Any]) -> None:
    places, gains = path["places"], path["gain"]
    axes.plot(places, gains, color=style.BLUE, marker="o", markersize=3, label="on the path")
    ends = [places.index(0.0), places.index(1.0), places.index(2.0)]
    axes.plot(
        [places[at] for at in ends], [gains[at] for at in ends],
        color=style.GREY, linestyle="--", label="straight between the ends",
    )  # fmt: skip
    axes.set_xticks([0, 1, 2], ["expert", "merge of a pair", "trained on the pair"])
    axes.set_ylabel("mean gain over the base, nat")
    axes.legend(fontsize=6)


def tables(results: Path) -> list[Table]:
    """Return what each kind of model gains and loses."""
    content = result(results, EXPERIMENT)
    header = ["model", "distance", "harmed", "mean harm", "harm avoided beside trained", "mean gain"]
    rows = [_row(words, content["kinds"][name]) for name, words in _KINDS.items()]
    long = content["long"]
    rows.append(_row(f"trained, |S| times the steps ({long['mixtures']} mixtures)", long["trained_long"]))
    beside = f"merged, harm avoided beside those ({long['mixtures']} mixtures)"
    rows.append(_row(beside, long["merged_beside_long"]))
    return [Table("", [header, *rows])]


def _row(words: str, kind: Mapping[str, Any]) -> list[str]:
    return [
        words,
        written(kind["distance"]),
        written(kind["harmed"], ".0%"),
        written(kind["harm"], ".3f"),
        "–" if words == _KINDS["trained"] else estimate(kind["avoided"], ".3f"),
        written(kind["gain"], ".3f"),
    ]


def _caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    kinds, long, path = content["kinds"], content["long"], content["path"]
    first = verdict(
        kinds["merged"]["avoided"],
        "merged models are harmed less than models trained for the same steps",
        "merged models do not resist harm: they are harmed more than models trained for the same steps",
        "no difference in harm to models trained for the same steps can be told",
    )
    as_far = verdict(
        kinds["as_far"]["avoided"],
        "still less once moved as far from the base",
        "more once moved as far from the base, so direction matters and not distance alone",
        "as far as the trained models, no difference is left that can be told",
    )
    steps = verdict(
        long["merged_beside_long"]["avoided"],
        "less than models trained for all their experts' steps",
        "more than models trained for all their experts' steps too",
        "against models trained for all their experts' steps no difference can be told",
    )
    barrier = path["barrier_merge_trained"]["mean"]
    between = verdict(
        barrier,
        "there is a barrier between merge and trained model",
        "there is no barrier between merge and trained model: scores on the way are better than on a line",
        "no barrier between merge and trained model can be told",
    )
    return (
        f"**Verdict**: {first} (harm avoided {estimate(kinds['merged']['avoided'], '.3f')} nat); {as_far} "
        f"({estimate(kinds['as_far']['avoided'], '.3f')}); {steps} "
        f"({estimate(long['merged_beside_long']['avoided'], '.3f')}); {between} "
        f"({estimate(barrier, '.3f')}; from expert to merge "
        f"{estimate(path['barrier_expert_merge']['mean'], '.3f')}, below zero is better than the line).\n\n"
        f"{about(content)}; {content['sizes']['mixtures']} mixtures of two or more × "
        f"{content['sizes']['targets']} targets, validation; paths: {path['pairs']} pairs. Harm is how far a "
        "score lies below the base model's, 0 where it does not. Merge to Mix reports that merged models "
        "resist harm where training on the mixture does not; how long its mixtures were trained is not "
        f"known to us. {ABOUT}"
    )


PART = Part("Why do merged models resist harm?", (EXPERIMENT,), _caption, draw=draw, tables=tables)
