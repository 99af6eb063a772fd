"""Merging beside what its experts say without merging: agreement by target, and what the picks lose."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style

RESULT, NAME = "fidelity.json", "fidelity_beside"
#: Kinds of utilities that are drawn, and their colours.
_KINDS = {"single targets": style.SKY, "pairs and triples whose best is mixed": style.VERMILION}
#: How far the kinds are drawn apart within a surrogate's row.
_APART = 0.17


def draw(results: Path, out: Path) -> list[Path]:
    """Draw what `m2m-analysis fidelity` wrote beside merging; where nothing stands there, no figure."""
    found = json.loads((results / RESULT).read_text(encoding="utf-8"))["beside"]
    names = list(found["overall"])
    if not names:
        style.remove(out / NAME)
        return []
    with style.look():
        figure = Figure(figsize=(style.PAGE, 1.2 + 0.3 * len(names)), layout="constrained")
        agreement, regret = figure.subplots(1, 2)
        _agreement(agreement, names, found)
        _regret(regret, names, found["choices"])
        agreement.set_yticks(range(len(names)), [found["surrogates"][name] for name in names])
        regret.set_yticks(range(len(names)), [""] * len(names))
        for axes in (agreement, regret):
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0)
        handles, labels = regret.get_legend_handles_labels()
        # Above, since footnotes stand below.
        style.legend(figure, dict(zip(labels, handles, strict=True)), "outside upper right")
        style.footnote(figure, _missing(found))
        return style.save(figure, out / NAME)


def _agreement(axes: Axes, names: Sequence[str], found: Mapping[str, Any]) -> None:
    for row, name in enumerate(names):
        targets = [surrogates.get(name, {}).get("spearman") for surrogates in found["by"].values()]
        known = [value for value in targets if value is not None]
        axes.scatter(known, [row] * len(known), s=12, color=style.GREY, alpha=0.7, linewidth=0, zorder=2)
        whole = found["overall"][name]["spearman"]
        if whole is not None:
            color = style.VERMILION if name == "merged" else style.BLUE
            axes.scatter([whole], [row], s=46, marker="D", color=color, zorder=3)
            axes.annotate(
                f"{whole:.2f}", (whole, row), xytext=(0, 6), textcoords="offset points", ha="center"
            )
    axes.set_xlabel("Spearman, mixtures of two or more\n(dots: targets; diamond: all, within targets)")


def _regret(axes: Axes, names: Sequence[str], choices: Mapping[str, Any]) -> None:
    drawn = [kind for kind in _KINDS if kind in choices]
    for place, kind in enumerate(drawn):
        shift = _APART * (2 * place - len(drawn) + 1)
        for row, name in enumerate(names):
            _estimate(axes, choices[kind]["regret"].get(name), row + shift, _KINDS[kind])
        axes.scatter([], [], color=_KINDS[kind], s=20, label=f"{kind} (n = {choices[kind]['utilities']})")
    axes.set_xlabel("mean regret of its pick, share of the range\n(95 % intervals: new targets)")


def _estimate(axes: Axes, estimate: Mapping[str, Any] | None, row: float, color: str) -> None:
    if estimate is None or estimate["value"] is None:
        return
    axes.scatter([estimate["value"]], [row], s=20, color=color, zorder=3)
    if estimate["low"] is not None:
        axes.plot([estimate["low"], estimate["high"]], [row, row], color=color, linewidth=1.0, zorder=2)


def _missing(found: Mapping[str, Any]) -> list[str]:
    """Say what is not in the figure, and why."""
    lines = [f"{target} is left out: {reason}" for target, reason in found["left_out"].items()]
    undefined = {c["reason"] for c in found["overall"].values() if c["reason"]}
    return lines + sorted(undefined) + ([found["reason"]] if found["reason"] else [])
