"""Merged models' losses beside those the quadratic model at the base predicts."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import number, read

TABLE, RESULT, NAME = "curvature_quadratic.csv", "curvature.json", "curvature_quadratic"


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the scatter of what `m2m-analysis curvature` wrote."""
    rows = read(results / TABLE)
    content = json.loads((results / RESULT).read_text(encoding="utf-8"))
    model = content["quadratic"]
    predicted, merged = ([number(row[name]) for row in rows] for name in ("predicted", "merged"))
    with style.look():
        figure = Figure(figsize=(style.COLUMN, style.COLUMN * 0.86), layout="constrained")
        axes = figure.subplots()
        axes.scatter(predicted, merged, s=22, facecolor=style.BLUE, label="merged models")
        style.identity(axes, merged[0], label="y = x")
        axes.scatter(
            [model["constant"]], [model["constant"]], marker="x", color=style.VERMILION, label="base"
        )
        axes.set_xlabel("loss the quadratic model predicts, nat")
        axes.set_ylabel("loss of the merged model, nat")
        axes.set_title(
            f"{model['target']}: Spearman {style.shown(model['spearman'], '.2f')} over {model['mixtures']} "
            f"mixtures",
            loc="left",
        )
        if model["spearman"] is None:
            style.footnote(figure, [f"Spearman: {content['undefined']['spearman']}"])
        axes.legend()
        return style.save(figure, out / NAME)
