"""Test scores of the picked mixture and the baselines, drawn as the gain over the base model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from paper_figs import style

NAME = "test_scores"
#: Order and names; whatever else is in `test` follows under its own name.
_NAMES = {
    "base": "base model",
    "random": "random subset",
    "all": "all datasets",
    "similarity": "most similar datasets",
    "picked": "picked by merging",
    "picked_after_trainings": "picked after trainings",
    "oracle": "oracle (best on validation)",
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the bars of a run's `results.json`."""
    content = json.loads(results.read_text(encoding="utf-8"))
    test = {name: score for name, score in content["test"].items() if score is not None}
    names = [name for name in [*_NAMES, *test] if name in test]
    names = list(dict.fromkeys(names))
    with style.look():
        figure = Figure(figsize=(style.COLUMN, 0.75 + 0.26 * len(names)), layout="constrained")
        _bars(figure, names, test, content)
        return style.save(figure, out / NAME)


def _bars(figure: Figure, names: list[str], test: dict[str, float], content: dict[str, Any]) -> None:
    axes = figure.subplots()
    base = test.get("base", 0.0)
    colors = {"picked": style.VERMILION, "picked_after_trainings": style.VERMILION, "oracle": style.GREEN}
    rows = range(len(names), 0, -1)
    gains = [test[name] - base for name in names]
    axes.barh(rows, gains, left=base, height=0.62, color=[colors.get(name, style.SKY) for name in names])
    axes.axvline(base, color=style.GREY, linewidth=0.8)
    for row, name, gain in zip(rows, names, gains, strict=True):
        side: dict[str, Any] = {"xytext": (3, 0), "ha": "left"}
        if gain < 0:
            side = {"xytext": (-3, 0), "ha": "right"}
        text, place = f"{test[name]:.4g}", (test[name], row)
        axes.annotate(text, place, textcoords="offset points", va="center", fontsize=6.5, **side)
    axes.set_yticks(list(rows), [_NAMES.get(name, name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.3)
    axes.grid(visible=False, axis="y")
    direction = "higher is better" if content["higher_is_better"] else "lower is better"
    about = style.shortened(content["target"], style.COLUMN, float(mpl.rcParams["axes.labelsize"]))
    axes.set_xlabel(f"{about}\ntest {content['metric']} ({direction})")
