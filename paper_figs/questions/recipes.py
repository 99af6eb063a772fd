"""How fidelity falls with the recipe, and how many examples of a target suffice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.part import Part, Table
from paper_figs.questions.verdict import ABOUT, about
from paper_figs.tables import estimate, result, written

EXPERIMENT, NAME = "question_recipes", "question_recipes"


def draw(results: Path, out: Path) -> list[Path]:
    """Draw ρ of every recipe, and against the number of examples."""
    content = result(results, EXPERIMENT)
    recipes = content["recipes"]
    with style.look():
        figure = Figure(figsize=(style.PAGE, max(2.4, 0.7 + 0.24 * len(recipes))), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
        for row, recipe in enumerate(recipes):
            _interval(left, row - 0.12, recipe["spearman"], style.BLUE, "merged" if row == 0 else None)
            words = "best member's expert" if row == 0 else None
            _interval(left, row + 0.12, recipe["best_member"], style.GREY, words)
        left.set_yticks(range(len(recipes)), [f"{r['axis']}: {r['words']}" for r in recipes])
        left.set_ylim(len(recipes) - 0.5, -0.5)
        left.set_xlabel("Spearman's ρ with trained scores, mean of targets")
        left.legend(fontsize=6)
        _examples(right, content["examples"])
        return style.save(figure, out / NAME)


def _interval(axes: Axes, row: float, found: dict[str, Any], color: str, label: str | None) -> None:
    if found["value"] is not None:
        axes.scatter([found["value"]], [row], s=20, color=color, label=label)
    if found["low"] is not None:
        axes.plot([found["low"], found["high"]], [row, row], color=color, linewidth=1)


def _examples(axes: Axes, found: Sequence[dict[str, Any]]) -> None:
    counts = [point["examples"] for point in found]
    each = [point["spearman"] for point in found]
    axes.plot(counts, [rho["value"] for rho in each], color=style.BLUE, marker="o", markersize=3)
    told = [(n, rho) for n, rho in zip(counts, each, strict=True) if rho["low"] is not None]
    for n, rho in told:
        axes.plot([n, n], [rho["low"], rho["high"]], color=style.BLUE, linewidth=0.9)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.set(xlabel="examples of a target, merges", ylabel="ρ with all examples' truth")


def tables(results: Path) -> list[Table]:
    """Return a row a recipe."""
    header = ["varied", "to", "steps", "n", "ρ, merged", "r, merged", "ρ, best member", "ρ ahead", "offset"]
    rows = [
        [
            recipe["axis"],
            recipe["words"],
            str(recipe["steps"]),
            str(recipe["n"]),
            estimate(recipe["spearman"]),
            estimate(recipe["pearson"]),
            estimate(recipe["best_member"]),
            estimate(recipe["spearman_lead"]),
            written(recipe["offset"]),
        ]
        for recipe in result(results, EXPERIMENT)["recipes"]
    ]
    return [Table("", [header, *rows])]


def _caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    first, *others = content["recipes"]
    falls = [r for r in others if _below(r["spearman"], first["spearman"])]
    rises = [r for r in others if _below(first["spearman"], r["spearman"])]
    said = [
        f"{words}: {'; '.join(_named(r) for r in told)}"
        for words, told in (("fidelity falls with", falls), ("it rises with", rises))
        if told
    ] or ["no recipe's fidelity can be told from the first one's"]
    return (
        f"**Verdict**: {'. '.join(said)} (intervals that do not overlap that of {_named(first)}). "
        f"{_enough(content['examples'])}\n\n{about(content)}; recipes change one thing of the first and "
        f"have all {first['n']} mixtures of two or more merged and trained with one seed, "
        f"{content['sizes']['targets']} targets. Offset: root mean square of trained less merged scores over "
        "that of what training gains. Examples: the set-up's own run, merges scored on the first so many "
        f"examples of a target, the truth on all. {ABOUT}"
    )


def _named(recipe: dict[str, Any]) -> str:
    return f"{recipe['axis']} {recipe['words']}"


def _below(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one["high"] is not None and other["low"] is not None and bool(one["high"] < other["low"])


def _enough(found: Sequence[dict[str, Any]]) -> str:
    if not found or found[-1]["spearman"]["value"] is None:
        return "How many examples suffice cannot be told."
    last = found[-1]["spearman"]["value"]
    enough = next(
        p for p in found if p["spearman"]["value"] is not None and p["spearman"]["value"] >= last - 0.02
    )
    return (
        f"{enough['examples']} examples of a target give ρ within 0.02 of what all "
        f"{found[-1]['examples']} give."
    )


PART = Part("How fidelity falls", (EXPERIMENT,), _caption, draw=draw, tables=tables)
