"""More datasets than can be enumerated: what searches find, and what training on it is worth."""

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

EXPERIMENT, NAME = "question_many", "question_many"
_WAYS = {
    "model": "`model`",
    "greedy": "greedy",
    "random": "random search",
    "longer": "`model`, {longer} evaluations",
    "similarity": "most similar datasets",
    "all": "all datasets",
    "best_single": "best single dataset",
    "random_subset": "a random subset",
}
_LOOKS = {
    "longer": (style.SKY, "--"),
    "model": (style.BLUE, "-"),
    "greedy": (style.VERMILION, "-"),
    "annealing": (style.ORANGE, "-."),
    "random": (style.GREY, ":"),
}
#: Mixtures of more datasets are told by their number alone.
_NAMED = 7


def _words(content: Mapping[str, Any]) -> dict[str, str]:
    return {name: words.format(longer=content["longer"]) for name, words in _WAYS.items()}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw regret against evaluations, and how far training on the pick is ahead of the other ways."""
    content = result(results, EXPERIMENT)
    words = {name: text.replace("`", "") for name, text in _words(content).items()}
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        _curves(left, content["curves"], words)
        _ahead(right, content["ways"], words)
        return style.save(figure, out / NAME)


def _curves(axes: Axes, curves: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> None:
    for name, (color, line) in _LOOKS.items():
        [mean] = [curve["mean"] for curve in curves if curve["strategy"] == name]
        regret = [100 * share for share in mean]
        axes.plot(range(1, len(mean) + 1), regret, color=color, linestyle=line, label=words.get(name, name))
    axes.set(xlabel="merged mixtures scored", ylabel="regret of the best so far, %")
    style.logarithmic(axes, "x")
    axes.set_ylim(bottom=-2)
    axes.legend(fontsize=6)


def _ahead(axes: Axes, ways: Mapping[str, Any], words: Mapping[str, str]) -> None:
    others = [name for name in _WAYS if name != "model"]
    for row, name in enumerate(others):
        ahead, each = ways[name]["ahead"], ways[name]["targets"].values()
        axes.scatter([t["ahead"]["value"] for t in each], [row] * len(each), s=8, color=style.SKY)
        if ahead["low"] is not None:
            axes.plot([ahead["low"], ahead["high"]], [row, row], color=style.BLUE)
        axes.scatter([ahead["value"]], [row], s=24, color=style.BLUE, marker="D", zorder=3)
    axes.axvline(0, color=style.GREY, linewidth=0.8)
    axes.set_yticks(range(len(others)), [words[name] for name in others])
    axes.set_ylim(len(others) - 0.5, -0.5)
    axes.set_xlabel("model's pick ahead on test, nat: targets, mean")


def tables(results: Path) -> list[Table]:
    """Return what each way is worth on test, and what it picked for each target."""
    content = result(results, EXPERIMENT)
    words, ways = _words(content), content["ways"]
    first = [
        [
            words[name],
            written(ways[name]["datasets"], ".1f"),
            written(ways[name]["gain"], ".3f"),
            "–" if name == "model" else estimate(ways[name]["ahead"], ".3f"),
        ]
        for name in _WAYS
    ]
    second = [
        [
            target,
            words[name],
            _mixture(found["mixtures"][0]),
            written(found["regret"], ".0%"),
            estimate(found["gain"], ".3f"),
            "–" if name == "model" else estimate(found["ahead"], ".3f"),
        ]
        for target in ways["model"]["targets"]
        for name in ("model", "greedy", "longer", "similarity", "best_single")
        for found in [ways[name]["targets"][target]]
    ]
    return [
        Table(
            "", [["trained on the pick of", "datasets", "mean test gain, nat", "`model` is ahead by"], *first]
        ),
        Table(
            "By target",
            [
                ["target", "pick of", "mixture", "merged regret", "test gain, nat", "`model` is ahead by"],
                *second,
            ],
        ),
    ]


def _mixture(label: str) -> str:
    members = label.split("+")
    return label if len(members) <= _NAMED else f"{len(members)} datasets"


def _caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    return f"**Verdict**: {_verdict(content)}\n\n{about(content)}; {_how(content)} {ABOUT}"


def _verdict(content: Mapping[str, Any]) -> str:
    words, ways, spent = _words(content), content["ways"], content["sizes"]["evaluations"]
    sides: dict[str, list[str]] = {}
    for name in _WAYS:
        ahead = ways[name]["ahead"]
        if name != "model":
            said = verdict(
                ahead, "is better than on those of", "is worse than on those of", "cannot be told from"
            )
            sides.setdefault(said, []).append(f"{words[name]} ({estimate(ahead, '.3f')} nat)")
    told = "; it ".join(f"{said} {', '.join(names)}" for said, names in sides.items())
    regrets = {name: [t["regret"] for t in ways[name]["targets"].values()] for name in ("model", "greedy")}
    left = ", ".join(f"{words[name]} {written(sum(r) / len(r), '.1%')}" for name, r in regrets.items())
    return (
        f"on test, training on what `model` picks with {spent} evaluations {told}. Among merges their picks "
        f"lack to the best known, mean over targets: {left}."
    )


def _how(content: Mapping[str, Any]) -> str:
    sizes, cost = content["sizes"], content["cost"]
    return (
        f"{content['about']['data']}. {sizes['datasets']} datasets, so {cost['mixtures']:,} mixtures; each "
        f"of {sizes['targets']} targets is searched for by itself, and what is picked is trained with "
        f"{sizes['training seeds']} seeds that chose nothing, for {sizes['steps']} steps. Regret is what a "
        "merge lacks on validation to the best that any search found, as a share of how far that is ahead "
        f"of the mean random subset. Curves are means over targets and {content['search_seeds']} search "
        "seeds; greedy has no chance in it, and the long search one seed. Forwards of one example: "
        f"{cost['experts']:,} to train the experts, {cost['search']:,} a search, {cost['longer']:,} the "
        f"long one; merging and scoring all mixtures would take {cost['enumeration']:,}. Intervals of "
        "single targets are over training seeds."
    )


PART = Part(
    "Can more datasets be searched than enumerated?", (EXPERIMENT,), _caption, draw=draw, tables=tables
)
