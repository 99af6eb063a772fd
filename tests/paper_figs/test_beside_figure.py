"""Merging beside its experts, drawn: every surrogate, every target, and why something is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.merge_to_mix import beside


def drawn(folder: Path, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Figure:
    (folder / beside.RESULT).write_text(json.dumps({"beside": found}), encoding="utf-8")
    kept: list[Figure] = []
    save = style.save
    monkeypatch.setattr(style, "save", lambda figure, stem: (kept.append(figure), save(figure, stem))[1])
    assert [path.suffix for path in beside.draw(folder, folder)] == [".png", ".svg"]
    return kept[0]


def test_a_row_a_surrogate_and_a_dot_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "merged": {"spearman": 0.9, "reason": ""},
        "size": {"spearman": None, "reason": "all are equal"},
    }
    regret = {
        "merged": {"value": 0.1, "low": 0.0, "high": 0.3},
        "size": {"value": 0.5, "low": None, "high": None},
    }
    found = {
        "surrogates": {"merged": "merged model", "size": "number of datasets"},
        "overall": values,
        "by": {"t": values, "u": values, "v": {}},
        "choices": {"single targets": {"utilities": 3, "regret": regret}},
        "left_out": {"w": "no expert"},
        "reason": "",
    }
    figure = drawn(tmp_path, found, monkeypatch)
    agreement, lost = figure.axes
    assert [label.get_text() for label in agreement.get_yticklabels()] == [
        "merged model",
        "number of datasets",
    ]
    assert [len(dots.get_offsets()) for dots in agreement.collections] == [2, 1, 0]
    assert [line.get_xdata().tolist() for line in lost.lines] == [[0.0, 0.3]]
    assert figure.get_supxlabel() == "w is left out: no expert\nall are equal"


def test_nothing_beside_merging_is_no_figure(tmp_path: Path) -> None:
    found = {"surrogates": {}, "overall": {}, "by": {}, "choices": {}, "left_out": {}, "reason": "no experts"}
    (tmp_path / beside.RESULT).write_text(json.dumps({"beside": found}), encoding="utf-8")
    earlier = tmp_path / f"{beside.NAME}.svg"
    earlier.touch()
    assert beside.draw(tmp_path, tmp_path) == []
    assert not earlier.exists()
