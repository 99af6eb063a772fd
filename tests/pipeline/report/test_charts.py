"""What is drawn: Plotly knows every property, texts name the mixture, and names stay names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.report_folders import finished, write_curve, write_run, write_scores

from m2m.pipeline.report import write_report
from m2m.pipeline.report.page import page

NASTY = "</script><b>x"


def write_all(root: Path, names: list[str]) -> None:
    write_run(root)
    write_scores(root, names, trained=2 ** len(names) - 1)
    write_curve(root, "experts", "one", [3.0, 2.0, 1.0])
    figures = root / "figures"
    figures.mkdir()
    cosine = [[1.0, 0.25, 0.1], [0.25, 1.0, None], [0.1, None, 1.0]]
    (figures / "orthogonality.json").write_text(json.dumps({"experts": names, "cosine": cosine}))
    gamma = [[1.0, 0.5, 0.3], [0.7, 1.0, 0.2], [0.1, 0.4, 1.0]]
    (figures / "curvature.json").write_text(json.dumps({"datasets": names, "gamma": gamma}))
    (root / "results.json").write_text(json.dumps(finished(names, names[:2])), encoding="utf-8")


def charts_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text)
    assert found is not None
    charts: dict[str, list[dict[str, Any]]] = json.loads(found[1])
    return charts


def painted(value: Any) -> Any:
    """Put a colour in the place of the page's variables, as the page does."""
    if isinstance(value, dict):
        return {key: painted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [painted(inner) for inner in value]
    return "#123456" if isinstance(value, str) and value.startswith("--") else value


def test_plotly_knows_every_property(tmp_path: Path) -> None:
    graphs = pytest.importorskip("plotly.graph_objects", reason="plotly, m2m[report], is not installed")
    write_all(tmp_path, ["a", "b", "c"])
    charts = charts_of(write_report(tmp_path))
    assert set(charts) == {"candidates", "regret", "map", "losses"}
    for view in (view for views in charts.values() for view in views):
        graphs.Figure(painted(view))


def test_a_point_says_what_is_known_of_its_mixture(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="plotly, m2m[report], is not installed")
    write_all(tmp_path, ["a", "b", "c"])
    [view] = charts_of(write_report(tmp_path))["candidates"]
    texts = {text.split("\n")[0]: text for trace in view["data"] for text in trace.get("customdata", ())}
    assert len(texts) == 7
    lines = texts["a + b"].split("\n")
    assert lines[1].startswith("merged loss 2.894, number ")
    assert lines[2] == "trained 2.874 (seed 0)"
    assert lines[3:] == ["cosine a – b 0.25", "γ a ← b 0.50", "γ b ← a 0.70"]


def test_names_end_no_script(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="plotly, m2m[report], is not installed")
    write_all(tmp_path, ["a", NASTY, "c"])
    path = write_report(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert NASTY not in text
    names = {line for view in charts_of(path)["map"] for line in view["data"][1]["text"]}
    assert names == {"a", NASTY, "c"}


def test_without_plotly_the_page_says_everything_in_tables(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("m2m.pipeline.report.page.find_spec", lambda name: None)
    write_all(tmp_path, ["a", "b", "c"])
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<script" not in text
    for said in (
        "Merged against trained",
        "regret, drawn at random",
        "Map of the mixtures",
        "last loss",
        "m2m[report]",
    ):
        assert said in text


def test_a_page_asks_for_nothing() -> None:
    assert "default-src 'none'" in page("m2m", ["<p>x</p>"], {})
