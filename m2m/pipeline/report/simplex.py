"""The map of a simplex of up to four datasets: every mixture at its place, coloured by its score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from m2m.pipeline.report.charts import Chart

#: Most datasets that have a map.
MOST = 4
#: Corners by number of datasets. A tetrahedron is seen from a side where none of its edges, and no two of its
#: centres, fall on each other: all 15 equal mixtures have places of their own.
_CORNERS: Mapping[int, Sequence[tuple[float, float]]] = {
    2: ((0.0, 0.0), (1.0, 0.0)),
    3: ((0.0, 0.0), (1.0, 0.0), (0.5, 0.866)),
    4: ((0.0, 0.0), (0.86, 0.0), (1.0, 0.4), (0.3, 0.95)),
}
#: How far a name is written from its corner.
_ASIDE = 0.07


@dataclass(frozen=True)
class Placed:
    """A mixture on the map.

    Attributes:
        weights: Share by dataset.
        score: What its place is coloured by.
        text: What is known of it, a line each.
        kind: `""`, or what it is called in the legend, as the pick is.
    """

    weights: Mapping[str, float]
    score: float
    text: str
    kind: str = ""


def simplex(names: Sequence[str], placed: Sequence[Placed], what: str, *, upwards: bool) -> Chart | None:
    """Draw mixtures on the simplex.

    Args:
        names: The datasets, two to four. [N]
        placed: The mixtures.
        what: What scores are called.
        upwards: Whether higher is better: the better end of the colours is the same either way.

    Returns:
        The chart; None for another number of datasets, or without mixtures.
    """
    if not 1 < len(names) <= MOST or not placed:
        return None
    corners = _CORNERS[len(names)]
    groups = [_edges(corners), _names(names, corners)]
    scores = [one.score for one in placed]
    colours = {
        "cmin": min(scores),
        "cmax": max(scores),
        "colorscale": "Viridis",
        "reversescale": not upwards,
        "colorbar": {"title": {"text": what, "side": "right"}, "thickness": 12, "outlinewidth": 0},
    }
    for kind in dict.fromkeys(one.kind for one in sorted(placed, key=lambda one: bool(one.kind))):
        chosen = [one for one in placed if one.kind == kind]
        places = [_place(one.weights, names, corners) for one in chosen]
        ring = {"color": "--vermilion", "width": 3} if kind else {"color": "--soft", "width": 0.5}
        size, symbol = (18, "diamond") if kind else (12, "circle")
        marker = {"size": size, "symbol": symbol, "line": ring, "color": [one.score for one in chosen]}
        groups.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": kind or "mixtures",
                "x": [x for x, _ in places],
                "y": [y for _, y in places],
                "customdata": [one.text for one in chosen],
                "hoverinfo": "text",
                "marker": marker | colours | {"showscale": not kind},
            }
        )
    hidden = {"visible": False}
    layout = {"xaxis": hidden | {"range": [-0.3, 1.3]}, "yaxis": hidden | {"scaleanchor": "x"}}
    return {"data": groups, "layout": layout}


def _place(
    weights: Mapping[str, float], names: Sequence[str], corners: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    shares = [weights.get(name, 0.0) for name in names]
    x, y = (
        sum(share * corner[axis] for share, corner in zip(shares, corners, strict=True)) for axis in (0, 1)
    )
    return x, y


def _edges(corners: Sequence[tuple[float, float]]) -> Chart:
    x: list[float | None] = []
    y: list[float | None] = []
    for first, second in combinations(corners, 2):
        x += [first[0], second[0], None]
        y += [first[1], second[1], None]
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "hoverinfo": "skip", "showlegend": False,
        "line": {"color": "--line", "width": 1.5},
    }  # fmt: skip


def _names(names: Sequence[str], corners: Sequence[tuple[float, float]]) -> Chart:
    """Write each name outside of its corner, where no mixture lies."""
    centre = [sum(corner[axis] for corner in corners) / len(corners) for axis in (0, 1)]
    places, sides = [], []
    for corner in corners:
        away = math.dist(corner, centre)
        across, up = ((c - m) / away for c, m in zip(corner, centre, strict=True))
        places.append((corner[0] + _ASIDE * across, corner[1] + _ASIDE * up))
        sides.append("center" if abs(across) < 0.5 else "right" if across > 0 else "left")
    return {
        "type": "scatter", "mode": "text", "x": [x for x, _ in places], "y": [y for _, y in places],
        "text": list(names), "hoverinfo": "skip", "showlegend": False, "cliponaxis": False,
        "textposition": [f"middle {side}" for side in sides], "textfont": {"size": 13},
    }  # fmt: skip
