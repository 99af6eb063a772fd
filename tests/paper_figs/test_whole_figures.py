"""Nothing that figures say is cut at their edge, and no two texts lie over each other."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from paper_figs import style
from paper_figs.merge_to_mix import beside, contenders, scatter
from paper_figs.mergemix import outlook

MIXTURES = ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c and a name far too long for a line"]
REASON = "these mixtures: the scores of single test examples are not known; new datasets: too few"
#: Pixels by which boxes of two texts may touch: the boxes of letters are wider than their ink.
TOUCH = 1.0


def targets(count: int) -> list[str]:
    return [f"target {i}" for i in range(count - 1)] + ["W" * 60]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect the figures, laid out; what files hold of them is tested elsewhere."""
    figures: list[Figure] = []

    def keep(figure: Figure, _stem: Path) -> list[Path]:
        figure.draw_without_rendering()
        figures.append(figure)
        return []

    monkeypatch.setattr(style, "save", keep)
    return figures


def texts(figure: Figure) -> Iterator[Text]:
    yield from figure.texts
    if figure._supxlabel is not None:
        yield figure._supxlabel
    for legend in figure.legends:
        yield from legend.get_texts()
    for axes in figure.axes:
        yield from (axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts)
        yield from seen(axes)


def seen(axes: Axes) -> Iterator[Text]:
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        for place, label in zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True):
            if min(limits) <= place <= max(limits):
                yield label


def whole(figure: Figure) -> None:
    boxes = {text: text.get_window_extent() for text in texts(figure) if text.get_text()}
    page: Bbox = figure.bbox
    for what, box in [
        *((text.get_text(), box) for text, box in boxes.items()),
        *(("legend", legend.get_window_extent()) for legend in figure.legends),
    ]:
        inside = page.x0 <= box.x0 and page.y0 <= box.y0 and box.x1 <= page.x1 and box.y1 <= page.y1
        assert inside, f"{what!r} is cut: {box} of {page}"
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        over = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(over) <= TOUCH, f"{one.get_text()!r} lies over {other.get_text()!r}"


def write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def fidelity(folder: Path, names: list[str], *, interval: bool) -> None:
    rows: list[dict[str, object]] = [
        {
            "target": target, "metric": "loss", "higher_is_better": False, "mixture": mixture,
            "merged": 2.3 + 0.011 * i, "trained": 2.3 + 0.013 * i, "singleton": i < 3, "pick": i == 0,
            "oracle": i == 6,
        }
        for target in names
        for i, mixture in enumerate(MIXTURES)
    ]  # fmt: skip
    write(folder / scatter.POINTS, rows)
    bounds = {"low": -0.75, "high": -0.25} if interval else {"low": None, "high": None}
    large = {"value": -0.5, "n": 11, "about": "these mixtures", "reason": REASON, **bounds}
    found = {"mixtures": {"pearson": large}, "with_singletons": {"pearson": large | {"n": 15}}}
    (folder / scatter.RESULT).write_text(json.dumps({"by": dict.fromkeys(names, found)}), encoding="utf-8")


@pytest.mark.parametrize("interval", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_scatter(tmp_path: Path, drawn: list[Figure], count: int, interval: bool) -> None:
    fidelity(tmp_path, targets(count), interval=interval)
    scatter.draw(tmp_path, tmp_path)
    whole(drawn[0])
    assert ("no interval" in drawn[0].axes[0].get_title(loc="left")) is not interval


@pytest.mark.parametrize("count", [1, 2, 6])
def test_contenders(tmp_path: Path, drawn: list[Figure], count: int) -> None:
    names = targets(count)
    rows: list[dict[str, object]] = [
        {
            "target": target, "candidate": mixture, "metric": "accuracy", "higher_is_better": True,
            "merged": 0.8 + 0.011 * i, "trained": 0.8 + 0.013 * i if i < 5 else "",
            "status": "expert" if i < 3 else "", "mean": 0.8 + 0.013 * i, "low": 0.79 + 0.013 * i,
            "high": 0.81 + 0.013 * i, "best": 0.3 if i > 3 else 0.01, "picked": i == 6,
        }
        for target in names
        for i, mixture in enumerate(MIXTURES)
    ]  # fmt: skip
    write(tmp_path / contenders.TABLE, rows)
    by = {name: {"enough": 0.5} for name in names}
    (tmp_path / contenders.RESULT).write_text(json.dumps({"by": by, "tolerance": 0.05}), encoding="utf-8")
    contenders.draw(tmp_path, tmp_path)
    whole(drawn[0])
    [legend] = drawn[0].legends
    assert {text.get_text() for text in legend.get_texts()} == {
        "trained",
        "one dataset: the expert itself",
        "pick",
        "y = x",
        "not trained: mean and 95 %",
    }


@pytest.mark.parametrize("count", [1, 5])
def test_outlook(tmp_path: Path, drawn: list[Figure], count: int) -> None:
    known = {
        "predicted": 0.99,
        "true": "",
        "reason": "",
        "verdict": "beyond theory",
        "undefined": "true: too few",
    }
    unknown = known | {"predicted": "", "reason": "all merged losses are equal", "verdict": "unknown"}
    rows = [{"target": name, **(known if i else unknown)} for i, name in enumerate(targets(count))]
    write(tmp_path / outlook.TABLE, rows)
    outlook.draw(tmp_path, tmp_path)
    whole(drawn[0])
    said = drawn[0].get_supxlabel().replace("\n", " ")
    assert "all merged losses are equal" in said
    assert "true: too few" in said


def test_beside(tmp_path: Path, drawn: list[Figure]) -> None:
    estimate = {"value": 0.1, "low": 0.0, "high": 0.3}
    values = {name: {"spearman": 0.9, "reason": REASON} for name in ("merged", "size")}
    kinds = ("single targets", "pairs and triples whose best is mixed")
    choices = {kind: {"utilities": 3, "regret": dict.fromkeys(values, estimate)} for kind in kinds}
    found = {
        "surrogates": {"merged": "merged model", "size": "number of datasets"}, "overall": values,
        "by": {"t": values}, "choices": choices, "left_out": {"w": REASON}, "reason": "",
    }  # fmt: skip
    (tmp_path / beside.RESULT).write_text(json.dumps({"beside": found}), encoding="utf-8")
    beside.draw(tmp_path, tmp_path)
    whole(drawn[0])
    [legend] = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [f"{kind} (n = 3)" for kind in kinds]
