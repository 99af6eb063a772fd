"""The page's charts as Plotly reads them: what is drawn, in colours of the page, with a text a point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m2m.pipeline.report.evaluations import Evaluations
from m2m.pipeline.report.geometry import Geometry, described
from m2m.pipeline.report.scored import Scored, ScoredTarget
from m2m.support.loss_curves import Curve

#: A Plotly figure. Colours are names of the page's variables, as in `--blue`.
Chart = dict[str, Any]
#: Colours of experts, in order; further ones share the last.
_COLOURS = ("--blue", "--vermilion", "--green", "--orange", "--sky", "--soft")
#: Trainings on mixtures that are drawn at most.
MOST_CURVES = 200


def candidates(target: ScoredTarget, geometry: Geometry, pick: str, called: str) -> Chart | None:
    """Draw every mixture that was merged, over its merged score.

    Where two or more mixtures of several datasets were trained, upwards is the trained score; else it is the
    number of datasets.

    Args:
        target: The mixtures and their scores.
        geometry: How experts lie to each other.
        pick: Label of the mixture that merging picked, or that leads so far.
        called: What that is called.

    Returns:
        The chart; None where nothing was merged.
    """
    scored = target.merged
    if not scored:
        return None
    truth = compares_truth(target)
    drawn = target.trained if truth else scored
    oracle = target.best(trained=True) if truth and len(drawn) == len(scored) else None
    upwards = {one.label: one.truth if truth else len(one.weights) for one in drawn}
    ranks = {one.label: place for place, one in enumerate(_best_first(target), 1)}
    texts = {one.label: _text(one, target, geometry, ranks) for one in drawn}

    def points(name: str, chosen: Sequence[Scored], marker: Mapping[str, Any]) -> Chart:
        return {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [one.merged for one in chosen],
            "y": [upwards[one.label] for one in chosen],
            "customdata": [texts[one.label] for one in chosen],
            "hoverinfo": "text",
            "marker": dict(marker),
        }

    filled = {"size": 9, "color": "--blue", "opacity": 0.85}
    hollow = {"size": 9, "color": "--paper", "line": {"color": "--blue", "width": 1.5}}
    groups = [
        points("two or more datasets", [one for one in drawn if not one.is_single], filled),
        points("one dataset: the expert", [one for one in drawn if one.is_single], hollow),
    ]
    for name, label, symbol, colour, size in (
        ("best trained", oracle and oracle.label, "square-open", "--green", 19),
        (called, pick, "diamond-open", "--vermilion", 16),
    ):
        if chosen := [one for one in drawn if one.label == label]:
            ring = {"symbol": symbol, "size": size, "color": colour, "line": {"width": 2}}
            groups.append(points(name, chosen, ring))
    layout = {
        "xaxis": {"title": {"text": f"merged model: {target.metric}"}},
        "yaxis": {"title": {"text": "number of datasets"}, "dtick": 1},
    }
    if truth:
        layout["yaxis"] = {"title": {"text": f"trained on the mixture: {target.metric}"}}
        groups.insert(0, _diagonal(drawn))
    return {"data": [group for group in groups if group["x"]], "layout": layout}


def compares_truth(target: ScoredTarget) -> bool:
    """Whether enough mixtures were trained to draw trained scores over merged ones."""
    return sum(not one.is_single for one in target.trained) > 1


def regret(found: Evaluations, target: ScoredTarget, *, searched: bool) -> Chart:
    """Draw regret over how many mixtures were scored; in the run's order too where it `searched`."""
    curves = {"drawn at random, on average": (found.by_chance, "--soft", "linear")}
    if searched:
        curves["as this run's search went"] = (found.in_order, "--vermilion", "hv")
    what = "trained" if found.measured else "merged"
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": found.counts,
                "y": values.tolist(),
                "customdata": [
                    f"{name}\n{count} of {found.of} mixtures scored\nregret {value:.3g}"
                    for count, value in zip(found.counts, values.tolist(), strict=True)
                ],
                "hoverinfo": "text",
                "line": {"color": colour, "shape": shape, "width": 2},
                "marker": {"size": 5},
            }
            for name, (values, colour, shape) in curves.items()
        ],
        "layout": {
            "xaxis": {"title": {"text": "mixtures merged and scored"}},
            "yaxis": {"title": {"text": f"regret, {what} {target.metric}"}, "rangemode": "tozero"},
        },
    }


def losses(experts: Sequence[Curve], mixtures: Sequence[Curve]) -> Chart | None:
    """Draw the losses of trainings: experts in colours of their own, mixtures as one family."""
    names = list(dict.fromkeys(curve.label for curve in experts))
    lines = [_loss(curve, "mixtures", "--soft", 0.6) for curve in mixtures[:MOST_CURVES]]
    for curve in experts:
        lines.append(_loss(curve, curve.label, _COLOURS[min(names.index(curve.label), 5)], 2))
    seen = set[str]()
    for line in lines:  # a name in the legend once
        line["showlegend"] = line["legendgroup"] not in seen
        seen.add(line["legendgroup"])
    axes = {
        "xaxis": {"title": {"text": "optimizer step"}},
        "yaxis": {"title": {"text": "loss of a batch [nat]"}},
    }
    return {"data": lines, "layout": axes} if lines else None


def _loss(curve: Curve, group: str, colour: str, width: float) -> Chart:
    steps, values = curve.smoothed()
    return {
        "type": "scatter",
        "mode": "lines",
        "name": group,
        "legendgroup": group,
        "x": steps,
        "y": values,
        "customdata": [
            f"{curve.label}, seed {curve.seed}\nstep {step:g}: {value:.4g}"
            for step, value in zip(steps, values, strict=True)
        ],
        "hoverinfo": "text",
        "line": {"color": colour, "width": width},
    }


def _best_first(target: ScoredTarget) -> list[Scored]:
    return sorted(target.merged, key=lambda one: -target.better(one.merged or 0.0))


def _text(one: Scored, target: ScoredTarget, geometry: Geometry, ranks: Mapping[str, int]) -> str:
    return "\n".join(_lines(one, target, geometry, ranks))


def _lines(one: Scored, target: ScoredTarget, geometry: Geometry, ranks: Mapping[str, int]) -> Iterator[str]:
    yield one.shown
    yield f"merged {target.metric} {one.merged:.4g}, number {ranks[one.label]} of {len(ranks)}"
    if one.trained:
        of_seeds = " · ".join(f"{score:.4g} (seed {seed})" for seed, score in sorted(one.trained.items()))
        yield f"trained {of_seeds}"
    yield from described(one.weights, geometry)


def _diagonal(drawn: Sequence[Scored]) -> Chart:
    values = [value for one in drawn for value in (one.merged, one.truth) if value is not None]
    ends = [min(values), max(values)]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "merged = trained",
        "x": ends,
        "y": ends,
        "hoverinfo": "skip",
        "line": {"color": "--soft", "width": 1, "dash": "dot"},
    }
