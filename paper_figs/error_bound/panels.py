"""The residual of merging over step sizes and horizons, its bound, and what corrections leave of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.part import Part
from paper_figs.style import logarithmic
from paper_figs.tables import Row, estimate, number, read, result, written

EXPERIMENT, NAME = "error_bound", "error_bound_page"
#: Column to name, colour and line style.
_LINES = {
    "estimated_bound": ("estimated bound", style.VERMILION, "-"),
    "predicted": ("second order", style.ORANGE, "--"),
    "measured": ("measured ‖Δ‖", style.BLUE, "-"),
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the page of six panels."""
    folder, content = results / EXPERIMENT, result(results, EXPERIMENT)
    swept, own = read(folder / "result_sweep.csv"), read(folder / "result_residuals.csv")
    with style.look():
        figure = Figure(figsize=(style.PAGE, 5.4), layout="constrained")
        grid = figure.subplots(2, 3)
        _norms(grid[0, 0], swept, "rate", "sharp_steps")
        _norms(grid[0, 1], swept, "horizon", "steps")
        _over_truth(grid[0, 2], swept)
        _optimizers(grid[1, 0], swept)
        _of_run(grid[1, 1], own)
        _left(grid[1, 2], own, content["own"])
        slope = content["exponents"]
        grid[0, 0].set(xlabel="η‖H‖, T = 4", ylabel="Euclidean norm")
        grid[0, 0].set_title(f"a  gradient descent: ‖Δ‖ ∝ η^{written(slope['rate']['value'])}", loc="left")
        grid[0, 1].set(xlabel="steps T, η‖H‖ = 1/16")
        grid[0, 1].set_title(f"b  ‖Δ‖ ∝ (T(T − 1))^{written(slope['horizon']['value'])}", loc="left")
        style.legend(figure, style.entries([grid[0, 0]]))
        return style.save(figure, out / NAME)


def _mixtures(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {
        name: [r for r in rows if r["mixture"] == name] for name in dict.fromkeys(r["mixture"] for r in rows)
    }


def _norms(axes: Axes, rows: Sequence[Row], sweep: str, column: str) -> None:
    chosen = [row for row in rows if row["sweep"] == sweep]
    for at, of in enumerate(_mixtures(chosen).values()):
        for name, (label, color, line) in _LINES.items():
            x, y = ([number(row[key]) for row in of] for key in (column, name))
            look: Any = {"color": color, "marker": style.mark(at), "markersize": 2.8}
            axes.plot(x, y, line, label=label if at == 0 else None, **look)
    logarithmic(axes, "x", "y")


def _over_truth(axes: Axes, rows: Sequence[Row]) -> None:
    for at, of in enumerate(_mixtures([r for r in rows if r["sweep"] != "own"]).values()):
        for sweep, color in (("rate", style.BLUE), ("horizon", style.GREEN)):
            points = [row for row in of if row["sweep"] == sweep]
            x = [number(row["sharp_steps"]) * number(row["steps"]) for row in points]
            y = [number(row["estimated_bound"]) / number(row["measured"]) for row in points]
            look: Any = {"color": color, "s": 14, "marker": style.mark(at)}
            axes.scatter(x, y, facecolor="none", **look)
    axes.axhline(1, color=style.GREY, linewidth=0.8)
    logarithmic(axes, "x", "y")
    axes.set(xlabel="ηT‖H‖")
    axes.set_title("c  bound over truth: η varied, T varied", loc="left")


def _optimizers(axes: Axes, rows: Sequence[Row]) -> None:
    for at, of in enumerate(_mixtures(rows).values()):
        for sweep, color, label in (
            ("rate", style.GREEN, "gradient descent"),
            ("own", style.GREY, "AdamW"),
        ):
            points = [row for row in of if row["sweep"] == sweep]
            y = [number(row["relative"]) for row in points]
            largest = max(number(row["learning_rate"]) for row in points)
            x = [number(row["learning_rate"]) / largest for row in points]
            look: Any = {"color": color, "marker": style.mark(at), "markersize": 2.8}
            axes.plot(x, y, label=label if at == 0 else None, **look)
    logarithmic(axes, "x", "y")
    axes.legend(fontsize=6)
    axes.set(xlabel="η, share of the largest", ylabel="‖Δ‖ / ‖θ* − θ₀‖")
    axes.set_title("d  what part of the way is missed, T = 4", loc="left")


def _of_run(axes: Axes, rows: Sequence[Row]) -> None:
    x, y = ([number(row[name]) for row in rows] for name in ("predicted", "measured"))
    axes.scatter(x, y, s=14, color=style.BLUE)
    ends = [min(*x, *y), max(*x, *y)]
    axes.plot(ends, ends, color=style.GREY, linestyle=(0, (4, 3)), linewidth=0.8)
    logarithmic(axes, "x", "y")
    axes.set(xlabel="‖Δ‖ predicted to second order", ylabel="‖Δ‖ measured")
    axes.set_title("e  the run's own mixtures", loc="left")


def _left(axes: Axes, rows: Sequence[Row], own: dict[str, Any]) -> None:
    corrected = [number(row["corrected"]) for row in rows if row["corrected"]]
    axes.scatter(range(len(corrected)), corrected, s=16, color=style.BLUE, marker="o")
    at = float(len(corrected))
    names = [row["mixture"] for row in rows if row["corrected"]]
    if own["anchored"]:
        axes.scatter([at], [own["anchored"]["ratio"]], s=22, color=style.VERMILION, marker="D")
        axes.scatter([at], [own["anchored"]["theory"]], s=30, color=style.GREY, marker="_")
        names.append(f"anchored, β = {own['anchored']['share']:g}")
    axes.axhline(1, color=style.GREY, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=5)
    axes.set(ylabel="‖Δ‖ left, share")
    axes.set_title("f  Scheffé's correction, anchors", loc="left")


def _caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    slope, bounds, own = content["exponents"], content["bounds"], content["own"]
    swept, run = content["sizes"]["mixtures swept"], content["sizes"]["mixtures of the run"]
    anchored = own["anchored"]
    lines = [
        f"Residual Δ = θ* − θ̃ of merging, {content['about']['model']}. **a–c**: full-batch gradient descent "
        f"on {content['sizes']['examples of a dataset']} examples a dataset, float64, {swept} mixtures (a "
        f"marker each). The power of η in ‖Δ‖, fitted up to η‖H‖ = {content['sharp']:g}, is "
        f"{estimate(slope['rate'])} (theory: 2), that of T(T − 1) {estimate(slope['horizon'])} (theory: 1 "
        f"for small ηT); {bounds['hold']} of {bounds['count']} estimated bounds hold, {bounds['inform']} are "
        "below the distance travelled, and the median bound is "
        f"{bounds['median_ratio']:.1f} times the truth. "
        f"**d**: under AdamW the power is {estimate(slope['own'])}: {_adam(slope['own'])} "
        f"**e**: the run's own {run} mixtures, its own recipe; the cosine of measured and predicted Δ is "
        f"{estimate(own['cosine'])}, and ‖Δ‖ is {estimate(own['relative'])} of the way. **f**: what "
        f"Scheffé's correction, fitted to all pairs, leaves of ‖Δ‖ in {own['corrected_n']} mixtures of three "
        f"or more: {estimate(own['corrected'])}."
    ]
    if anchored:
        lines.append(
            f"Experts anchored with β = {anchored['share']:g} leave {anchored['ratio']:.2f} of it (small "
            f"steps of gradient descent: β² = {anchored['theory']:.2f}; the bar), in all datasets' mixture, "
            "n = 1."
        )
    lines.append(
        "Intervals are Student's over mixtures, which share datasets: read them as spread. Neither paper has "
        "these analyses; formulas and limits: [theory.md](theory.md#error-bound)."
    )
    return " ".join(lines)


def _adam(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return "from one mixture no interval can be told."
    if found["high"] < 2:
        return "smaller steps help a merge less than theory says of gradient descent."
    return "no difference to gradient descent can be told."


PART = Part("Residual, prediction and bound", (EXPERIMENT,), _caption, draw=draw)
