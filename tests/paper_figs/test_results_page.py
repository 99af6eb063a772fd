"""The page of results is what stored results say: every number from a file, nothing where nothing was run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from paper_figs import page, style
from paper_figs.merge_to_mix import choice, correlation, cost_table, fidelity_table, regret_table
from paper_figs.part import Table
from paper_figs.tables import estimate, written

NAME = "merge_to_mix_vision"


def number(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 11, "reason": "", "about": "these mixtures"}


def agreement(r: float) -> dict[str, Any]:
    return {
        "mixtures": {"pearson": number(r, r - 0.1, r + 0.05)},
        "with_singletons": {"pearson": number(r + 0.02)},
        "ceiling": {"pearson": number(None)},
    }


def surrogates(best: float) -> dict[str, Any]:
    lead = number(-0.05, -0.2, 0.1)
    return {
        "best_member": {"pearson": best, "pearson_lead": lead},
        "mean_of_members": {"pearson": None, "pearson_lead": number(None)},
    }


def way(mixture: str, utility: float, ahead: float) -> dict[str, Any]:
    return {
        "mixture": mixture,
        "datasets": mixture.count("+") + 1,
        "utility": number(utility, utility - 1, utility + 1),
        "ahead": number(ahead, ahead - 0.5, ahead + 0.5) if ahead else number(0.0),
        "scores": {"gnome": number(0.5)},
        "regret": 0.125,
    }


RESULT = {
    "about": {"title": "Pictures", "model": "a model", "data": "data"},
    "sizes": {"steps": 3, "batch": 4, "truth_seeds": 1},
    "datasets": ["a", "b"],
    "choice": {
        "for": "gnome + tango",
        "seeds": 3,
        "targets": {"gnome": {"metric": "accuracy", "higher_is_better": True, "base": 0.25}},
        "by": {"picked": way("a+b", 2.0, 0.0), "all": way("a+b", 2.0, 0.0), "oracle": way("a", 2.5, 0.5)},
        "regret_of_random": 0.4,
    },
    "cost": {
        "datasets": 2,
        "mixtures": 3,
        "by": {
            "merging": {"trainings": 3, "scored": 3, "forwards": 1500},
            "truth": {"trainings": 3, "scored": 3, "forwards": 6000},
        },
    },
}
FIDELITY = {
    **agreement(0.71),
    "by": {"gnome": agreement(0.66)},
    "beside": {
        "surrogates": {"merged": "merged model", "size": "number of datasets"},
        "overall": surrogates(0.76),
        "by": {"gnome": surrogates(0.61)},
        "choices": {
            "gnome + tango": {"utilities": 1, "regret": {"merged": number(0.0)}},
            "single targets": {"utilities": 9, "regret": {"merged": number(0.02, 0.0, 0.31)}},
            "pairs and triples": {"utilities": 4, "regret": {"merged": number(0.1), "size": number(0.5)}},
        },
    },
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / NAME
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(RESULT))
    (folder / "fidelity.json").write_text(json.dumps(FIDELITY))
    with (folder / "result_points.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["target", "merged", "trained", "singleton"])
        writer.writeheader()
        for at, single in enumerate([True, False, False]):
            writer.writerow({"target": "gnome", "merged": at / 10, "trained": at / 8, "singleton": single})
    return folder.parent


def one(tables: list[Table]) -> list[list[str]]:
    [table] = tables
    return [list(row) for row in table.rows]


def test_the_paper_stands_beside_ours_and_the_free_baselines_beside_the_merge(results: Path) -> None:
    header, every, gnome = one(fidelity_table.tables(results))
    assert dict(zip(header, every, strict=True)) == {
        "target": "all, within targets",
        "n": "11",
        "r, merged": "0.71 [0.61, 0.76]",
        "with single datasets": "0.73",
        "r, best member's expert": "0.76",
        "r, mean of members": "–",
        "merged minus best member": "−0.05 [−0.20, 0.10]",
        "two seeds of the truth": "–",
        "the paper": "0.78",
    }
    assert gnome[:5] == ["gnome", "11", "0.66 [0.56, 0.71]", "0.68", "0.61"]


def test_choices_regrets_and_cost_are_the_numbers_of_the_files(results: Path) -> None:
    _, picked, every, oracle, chance, base = one(choice.tables(results))
    assert picked == ["merging", "a + b", "2.00 [1.00, 3.00]", "the same mixture", "12 %", "0.500"]
    assert every[3] == "the same mixture"
    assert oracle[:4] == ["oracle: best of all trained", "a", "2.50 [1.50, 3.50]", "0.50 [0.00, 1.00]"]
    assert (chance[4], base[-1]) == ("40 %", "0.250")
    assert one(regret_table.tables(results)) == [
        ["chosen by", "single targets (9)", "pairs and triples (4)"],
        ["merged model", "2 % [0 %, 31 %]", "10 %"],
        ["all datasets", "–", "50 %"],
    ]
    merging, truth, *printed = one(cost_table.tables(results))[1:]
    assert merging == ["Pictures", "2", "merging", "3", "3", "1,500", "25 %"]
    assert truth[-1] == "100 %"
    assert [row[3] for row in printed] == ["7", "63", "8", "127"]


def test_a_panel_a_set_up_with_open_marks_for_single_datasets(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(style, "save", lambda figure, stem: kept.append(figure) or [])
    correlation.draw(results, tmp_path)
    [axes] = kept[0].axes
    mixed, single = axes.collections
    assert (mixed.get_offsets().tolist(), single.get_offsets().tolist()) == (
        [[0.1, 0.125], [0.2, 0.25]],
        [[0.0, 0.0]],
    )
    assert len(single.get_facecolor()) == 0
    assert "r = 0.71 [0.61, 0.76], n = 11" in axes.get_title(loc="left")
    assert "the paper, vision: r = 0.78" in axes.get_title(loc="left")


def test_the_page_says_what_was_not_run(tmp_path: Path) -> None:
    assert page.write_page(tmp_path / "none", tmp_path / "figures", tmp_path / "results.md", "fast") == []
    text = (tmp_path / "results.md").read_text()
    parts = [part for section in page.SECTIONS for part in section.parts]
    needed = ", ".join(dict.fromkeys(name for part in parts for name in part.needs))
    assert f"Experiments, at the size `fast`: none yet. Not run at this size yet: {needed}." in text
    assert text.count("Not run at this size yet: ") == len(parts) + 1


def test_numbers_are_written_for_people() -> None:
    assert [written(value) for value in (0.125, -1.0, None, float("nan"))] == ["0.12", "−1.00", "–", "–"]
    assert estimate(number(0.04, None, 0.1), ".0%") == "4 %"
    assert estimate(None) == "–"
