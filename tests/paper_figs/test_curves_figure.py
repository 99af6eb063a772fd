"""Loss curves: every training that has one is drawn, and means are over steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from m2m.training import curve_text
from paper_figs import style
from paper_figs.merge_to_mix import curves


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    monkeypatch.setattr(style, "save", lambda figure, stem: figures.append(figure) or [])
    return figures


def write(folder: Path, losses: list[float]) -> None:
    folder.mkdir(parents=True)
    curve = [(step, loss, 0.1) for step, loss in enumerate(losses, start=1)]
    (folder / "loss.csv").write_text(curve_text(curve))


def test_experts_by_name_and_mixtures_as_a_family(tmp_path: Path, drawn: list[Figure]) -> None:
    for number in range(7):
        write(tmp_path / "experts" / f"expert{number}" / "seed0", [3.0, 2.0, 1.0])
    write(tmp_path / "mixtures" / "a+b" / "seed0", [3.0, 2.5])
    write(tmp_path / "mixtures" / "a+b" / "seed1", [3.0, 2.4])
    curves.draw(tmp_path, tmp_path)
    left, right = drawn[0].axes
    assert (len(left.lines), len(right.lines)) == (7, 2)
    labels = {text.get_text() for legend in drawn[0].legends for text in legend.get_texts()}
    assert labels == {*(f"expert{number}" for number in range(5)), "other experts"}
    assert list(left.lines[0].get_ydata()) == [3.0, 2.0, 1.0]


def test_long_curves_are_means_over_a_twentieth(tmp_path: Path, drawn: list[Figure]) -> None:
    write(tmp_path / "experts" / "a" / "seed0", [float(step % 2) for step in range(400)])
    curves.draw(tmp_path, tmp_path)
    [line] = drawn[0].axes[0].lines
    assert list(line.get_ydata()) == [0.5] * 20
    assert list(line.get_xdata()) == [10.5 + 20 * at for at in range(20)]


def test_nothing_to_draw(tmp_path: Path, drawn: list[Figure]) -> None:
    assert curves.draw(tmp_path, tmp_path) == []
    assert not drawn
