"""Figures of tables with gaps: drawn, with a dash for a number and its reason below."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.merge_to_mix import scatter, verdicts
from paper_figs.mergemix import cosines, error_bound, explained, gamma, quadratic, residual

TABLES = {
    gamma: "hessian,direction,gamma,undefined\na,a,1,\na,b,0.5,\nb,a,,gamma: not bent\n"
    "b,b,,gamma: not bent\n",
    cosines: "level,group,a,b,cosine,chance_spread,undefined\n"
    "whole,all,x,y,,,cosine: zero; chance_spread: zero\nlayer,0,x,y,,,cosine: zero; chance_spread: zero\n",
    residual: "mixture,measured,predicted,self_scaling,interference,seed_distance,cosine,relative,corrected,"
    "undefined\na+b,0,0,0,0,,,,,cosine: none; relative: still; corrected: a pair; seed_distance: one seed\n",
    explained: "steps,step_size,share,share_any_horizon,relative,rho,undefined\n"
    "2,0.5,,,,,share: none; share_any_horizon: none; relative: still; rho: zero\n",
    error_bound: "sweep,optimizer,sharp_steps,steps,learning_rate,measured,predicted,estimated_bound,travel,"
    "undefined\nrate,sgd,0.5,2,0.1,0,0,0,0,\nhorizon,sgd,0.5,2,0.1,0,0,0,0,\n"
    "own,adamw,1,2,0.1,0,0,,0,estimated_bound: outside\n",
    verdicts: "name,run,low,value,high,threshold,side,outcome\nx,r,,,,0,above,unresolved\n",
}
SAID = {
    gamma: ["gamma: not bent"],
    cosines: ["cosine: zero", "chance_spread: zero"],
    residual: ["cosine: none", "relative: still", "corrected: a pair", "seed_distance: one seed"],
    explained: ["share: none", "share_any_horizon: none", "relative: still", "rho: zero"],
    error_bound: ["estimated_bound: outside"],
    verdicts: ["1 of 1 claims have no interval: their reasons stand in verdicts.csv and verdicts.md"],
}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what stands below the figures."""
    lines: list[str] = []
    draw = style.footnote

    def note(figure: Figure, texts: Sequence[str]) -> None:
        lines.extend(texts)
        draw(figure, texts)

    monkeypatch.setattr(style, "footnote", note)
    return lines


@pytest.mark.parametrize("figure", TABLES, ids=lambda figure: str(figure.NAME))
def test_gaps_have_their_reason(figure: ModuleType, tmp_path: Path, said: list[str]) -> None:
    table = figure.PAIRS if figure is cosines else figure.TABLE
    (tmp_path / table).write_text(TABLES[figure])
    (tmp_path / cosines.EXPERTS).write_text("level,expert\nwhole,x\nwhole,y\n")
    (tmp_path / residual.RESULT).write_text(json.dumps({"outside_theory": []}))
    for path in figure.draw(tmp_path, tmp_path):
        assert path.stat().st_size > 1000
    assert said == SAID[figure]


def test_a_correlation_that_is_not_there(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / quadratic.TABLE).write_text("mixture,predicted,merged\na,1,1\nb,1,1\n")
    model = {"target": "t", "spearman": None, "mixtures": 2, "constant": 1.0}
    content = {"quadratic": model, "undefined": {"spearman": "all are equal"}}
    (tmp_path / quadratic.RESULT).write_text(json.dumps(content))
    quadratic.draw(tmp_path, tmp_path)
    assert said == ["Spearman: all are equal"]


def test_titles_say_why() -> None:
    missing = {"value": None, "low": None, "high": None, "n": 7, "reason": "all merged scores are equal"}
    without = missing | {"value": 0.5, "reason": "too few mixtures"}
    assert scatter._correlation("r", missing) == ["r is not defined:", "all merged scores are equal"]
    assert scatter._correlation("r", without) == ["r = 0.50, n = 7, no interval"]


def test_nothing_positive_has_no_logarithm() -> None:
    axes = Figure().subplots()
    axes.scatter([0.0, float("nan")], [1.0, 10.0])
    style.logarithmic(axes, "x", "y")
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
