"""The figures: written, the same bytes every time, and not upset by odd data."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.merge_to_mix import bars, scatter

ESTIMATE = {"value": 0.9, "low": 0.7, "high": 0.97, "n": 7, "about": "new datasets"}
EVERY = {"value": 0.95, "low": 0.7, "high": 0.99, "n": 10}
PNG = b"\x89PNG\r\n\x1a\n"


def points(folder: Path, targets: list[str], trained: str = "") -> Path:
    """Write results of seven mixtures a target; `trained` replaces one of the scores."""
    columns = [
        "target",
        "metric",
        "higher_is_better",
        "mixture",
        "merged",
        "trained",
        "singleton",
        "pick",
        "oracle",
    ]
    names = ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]
    with open(folder / scatter.POINTS, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for target in targets:
            for i, name in enumerate(names):
                truth = trained if trained and i == 2 else i * 1.1
                writer.writerow([target, "loss", False, name, i, truth, len(name) == 1, i == 0, i == 3])
    found = {"mixtures": {"pearson": ESTIMATE}, "with_singletons": {"pearson": EVERY}}
    by = dict.fromkeys(targets, found)
    (folder / scatter.RESULT).write_text(json.dumps({"by": by}), encoding="utf-8")
    return folder


def texts(figure: Figure) -> list[str]:
    panels = [text for axes in figure.axes for text in [axes.title, axes._left_title, *axes.texts]]
    return [text.get_text() for text in panels]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect the figures that are saved."""
    figures: list[Figure] = []
    save = style.save

    def spy(figure: Figure, stem: Path) -> list[Path]:
        figures.append(figure)
        return save(figure, stem)

    monkeypatch.setattr(style, "save", spy)
    return figures


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_a_panel_a_target(tmp_path: Path, drawn: list[Figure], count: int) -> None:
    png, svg = scatter.draw(points(tmp_path, [f"target {i}" for i in range(count)]), tmp_path / "out")
    assert png.read_bytes().startswith(PNG)
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert len(drawn[0].axes) == count


def test_panel_names_what_was_found(tmp_path: Path, drawn: list[Figure]) -> None:
    scatter.draw(points(tmp_path, ["perl"]), tmp_path)
    found = texts(drawn[0])
    assert (
        "perl\nr = 0.90 [0.70, 0.97], n = 7\ninterval for new datasets\nwith single datasets 0.95, n = 10\n"
        "picked: a\noracle: a+b" in found
    )
    [legend] = drawn[0].legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [
        "y = x",
        "two or more datasets",
        "one dataset: the expert itself",
        "oracle (best trained)",
        "picked by merging",
    ]


def test_singletons_are_hollow_and_every_mixture_is_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    scatter.draw(points(tmp_path, ["perl"]), tmp_path)
    by_label = {dots.get_label(): dots for dots in drawn[0].axes[0].collections}
    hollow, full = by_label["one dataset: the expert itself"], by_label["two or more datasets"]
    assert (len(hollow.get_offsets()), len(full.get_offsets())) == (3, 4)
    assert hollow.get_facecolor().tolist() == [[1, 1, 1, 1]]


def test_axes_share_their_limits(tmp_path: Path, drawn: list[Figure]) -> None:
    scatter.draw(points(tmp_path, ["perl"]), tmp_path)
    [axes] = drawn[0].axes
    assert axes.get_xlim() == axes.get_ylim()


@pytest.mark.parametrize("trained", ["nan", "inf", ""])
def test_a_score_that_is_not_finite_is_not_drawn(tmp_path: Path, drawn: list[Figure], trained: str) -> None:
    scatter.draw(points(tmp_path, ["perl"], trained), tmp_path)
    dots = sum(len(c.get_offsets()) for c in drawn[0].axes[0].collections if "dataset" in c.get_label())
    assert dots == (6 if trained else 7)


def test_the_same_bytes_twice_whatever_the_settings_around(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in scatter.draw(points(tmp_path, ["perl"]), tmp_path / "one")]
    with mpl.rc_context({"font.size": 20, "axes.grid": False}):
        second = [path.read_bytes() for path in scatter.draw(tmp_path, tmp_path / "two")]
    assert first == second


def test_names_are_text_not_markup(tmp_path: Path, drawn: list[Figure]) -> None:
    scatter.draw(points(tmp_path, ["$x^{$ <b>&amp;"]), tmp_path)
    assert any("$x^{$ <b>&amp;" in text for text in texts(drawn[0]))


def results(folder: Path, **changes: Any) -> Path:
    content = {
        "target": "perl",
        "metric": "loss",
        "higher_is_better": False,
        "test": {"picked": 2.0, "base": 3.0, "oracle": 1.9, "all": 3.1},
        **changes,
    }
    path = folder / "results.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_bars_start_at_the_base_model(tmp_path: Path, drawn: list[Figure]) -> None:
    bars.draw(results(tmp_path), tmp_path)
    [axes] = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "base model",
        "all datasets",
        "picked by merging",
        "oracle (best on validation)",
    ]
    assert [bar.get_x() for bar in axes.patches] == [3, 3, 3, 3]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0, 0.1, -1, -1.1])
    assert axes.get_xlabel() == "perl\ntest loss (lower is better)"


def test_bars_of_an_unvalidated_run(tmp_path: Path, drawn: list[Figure]) -> None:
    bars.draw(results(tmp_path, test={"base": 0.5, "picked": 0.5, "oracle": None, "mine": 0.6}), tmp_path)
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == [
        "base model",
        "picked by merging",
        "mine",
    ]
