"""MergeMix's experiment on very small models: choices, ranks, and their part of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.eight_words import write_example
from scipy import stats

from analysis.papers.capabilities import OVERALL, Capabilities
from analysis.papers.configuration import changed_text
from analysis.papers.corrected import ANCHOR
from analysis.papers.mergemix import RATIOS, TRANSFER
from analysis.papers.ratio_choices import trained_once
from analysis.papers.ratio_corrections import SHARES
from analysis.papers.ratio_fidelity import MERGED, ranking
from analysis.papers.ratio_search import Outline, SizedRatios
from analysis.papers.ratios import RatioTruth
from analysis.papers.surfaces import PRINTED, SET, SMOOTH, Surfaces
from analysis.papers.transfer import Transfer
from analysis.studies.of_papers import redraw
from m2m.executors.local import Local
from m2m.mixture import Mixture
from m2m.pipeline import config
from m2m.searching import Simplex
from m2m.support.csv_tables import read_rows
from m2m.support.progress import nobody

DATASETS = ("a", "b", "c", "d")
GROUPS = {"near": ("rain", "snow"), "far": ("wind",)}


def toy(place: Path) -> RatioTruth:
    """Write texts and a configuration, and return the experiment on them."""
    targets = {"rain": 1, "snow": 3, "wind": 5}
    example = write_example(place, "".join(DATASETS), targets, steps=2, batch=2, examples=4)
    prior = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}
    sized = SizedRatios(example, {}, "a byte GPT", "eight words", 1, drawn=5, curved=1)
    outline = Outline(GROUPS, ("a", "b"), prior, (("a", "b"), ("c", "d")))
    return RatioTruth("mergemix_ratios", outline, {"fast": sized, "full": sized}, fresh_seeds=2)


def smaller(one: RatioTruth) -> Transfer:
    """Return the experiment that searches with a narrower model, and trains that of another experiment."""
    narrow = replace(one.sizes["fast"], changes={"setup.base.width": 8}, model="a narrower one")
    return Transfer(one, replace(one, name="mergemix_transfer", sizes={"fast": narrow}), {"fast": 1})


def test_the_experiments_and_their_parts_of_the_page(tmp_path: Path) -> None:
    one, out, page = toy(tmp_path), tmp_path / "out", tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    redraw([one, smaller(one)], out, page, "fast", Local(1), nobody)
    results = out / "results" / "fast" / one.name
    found: dict[str, Any] = json.loads((results / "result.json").read_text())
    text = page.read_text()
    _check_choices(found)
    _check_anchors(found, results)
    assert found["cost"]["by"]["mergemix"] == {
        "trainings": 4, "scored": 42, "forwards": 4 * 12 + 42 * 12
    }  # fmt: skip
    drawn = [row for _, row in read_rows(results / "result_drawn.csv", "it") if row["utility"] == OVERALL]
    rho = stats.spearmanr(*([float(row[side]) for row in drawn] for side in ("merged", "trained")))
    assert found["fidelity"][OVERALL]["spearman"][MERGED]["value"] == pytest.approx(rho.statistic)
    for picture in (
        "mergemix_ranks",
        "mergemix_curves",
        "mergemix_choice",
        "mergemix_simplex",
        "mergemix_transfer",
        "question_anchors",
    ):
        assert f"(img/results/{picture}.png)" in text
        assert (out / "figures" / "fast" / f"{picture}.pdf").stat().st_size
    for printed in (".92 [.67, .98]", "58.4", "16,000", "a narrower one"):
        assert printed in text
    _check_transfer(json.loads((results.parent / "mergemix_transfer" / "result.json").read_text()), found)


def _check_anchors(found: Mapping[str, Any], results: Path) -> None:
    rows = [row for _, row in read_rows(results / "result_anchored.csv", "it")]
    rank = {(row["utility"], float(row["share"]), row["seed"]): float(row["spearman"]) for row in rows}
    assert len(rank) == len(found["fidelity"]) * len(SHARES) * 2, "two seeds of experts"
    first = min(seed for _, _, seed in rank)
    for name, told in found["anchors"].items():
        # The first seed is the search's own: its merges are those of the other table.
        same = found["fidelity"][name]["spearman"]
        assert rank[name, 1.0, first] == pytest.approx(same[MERGED]["value"])
        assert rank[name, ANCHOR, first] == pytest.approx(same["anchored"]["value"])
        assert [one["share"] for one in told] == list(SHARES)
        assert told[0]["ahead"]["value"] == 0
        for one in told:
            by_seed = [value for (of, share, _), value in rank.items() if (of, share) == (name, one["share"])]
            assert one["spearman"]["value"] == pytest.approx(np.mean(by_seed))


def _check_choices(found: Mapping[str, Any]) -> None:
    choice, levels = found["choice"], found["levels"]
    assert choice["uniform"]["shares"] == dict.fromkeys(DATASETS, 0.25)
    assert choice["mergemix"]["ahead"][OVERALL]["value"] == 0
    assert {way["by"][OVERALL]["n"] for way in choice.values()} == {2}
    assert levels["manual, manual"]["shares"] == choice["prior"]["shares"]
    halves = [
        levels[f"mergemix, {way}"]["shares"]["a"] + levels[f"mergemix, {way}"]["shares"]["b"]
        for way in ("uniform", "manual", "mergemix")
    ]
    assert halves == pytest.approx([halves[0]] * 3)
    assert found["halves"]["kept"]["shares"] == choice["mergemix"]["shares"]
    for name, ways in found["specialists"].items():
        assert ways["single"]["by"][name]["n"] == 2


def _check_transfer(found: Mapping[str, Any], larger: Mapping[str, Any]) -> None:
    choice = found["choice"]
    for way in ("uniform", "prior", "best_member", "best_of_trials", "mergemix"):
        assert choice[way]["shares"] == larger["choice"][way]["shares"]
        assert choice[way]["by"] == larger["choice"][way]["by"]
    assert found["parameters"]["smaller"] < found["parameters"]["larger"]
    assert found["cost"]["larger"]["by"]["mergemix"] == larger["cost"]["by"]["mergemix"]
    for name, utility in found["fidelity"].items():
        assert utility["spearman"][MERGED] == larger["fidelity"][name]["spearman"][MERGED]
        assert utility["seeds"] == larger["fidelity"][name]["seeds"]


def test_ratios_that_give_nearly_the_same_data_are_trained_once() -> None:
    even, near = Mixture(("a", "b"), (0.5, 0.5)), Mixture(("a", "b"), (0.515, 0.485))
    nearer = Mixture(("a", "b"), (0.495, 0.505))
    # Of fifty examples 0.75 differ, of a thousand fifteen: more than one in a hundred.
    assert trained_once([even, near, nearer], 50) == {one.key: even for one in (even, near, nearer)}
    assert trained_once([even, near, nearer], 1000) == {even.key: even, near.key: near, nearer.key: even}


@pytest.mark.parametrize("family", [SET, SMOOTH])
def test_surfaces_find_the_best_ratio_of_a_bowl_and_printed_settings_see_nothing(family: str) -> None:
    rng = np.random.default_rng(0)
    points, best = rng.dirichlet(np.ones(3), 40), np.array([0.5, 0.3, 0.2])
    scores = -((points - best) ** 2).sum(1)[:, None]
    capabilities, base = Capabilities.over({"one": ("t",)}, scores), np.array([scores.min()])
    space = Simplex(("a", "b", "c"))
    found = Surfaces.fitted(family, points, scores, capabilities, base, 0).best(OVERALL, space)
    # The bowl is known at forty places, 0.13 apart on average: √(area of the simplex √3/2 · 1/40).
    assert np.linalg.norm(found - best) < 0.15
    flat = Surfaces.fitted(PRINTED, points[:39], scores[:39], capabilities, base, 0)
    assert np.ptp(flat.utility(OVERALL, points)) == 0


def test_a_surrogate_that_is_the_truth_agrees_wholly_and_is_ahead_of_its_reverse() -> None:
    trained = np.random.default_rng(1).normal(size=(2, 9, 3))
    capabilities = Capabilities.over({"one": ("s", "t"), "two": ("u",)}, trained[0])
    truth, base = trained.mean(0), np.zeros(3)
    found = ranking(capabilities, {MERGED: truth, "reverse": -truth}, trained, base, 0)
    for name in (OVERALL, "one", "two"):
        assert found[name]["spearman"][MERGED]["value"] == pytest.approx(1)
        assert found[name]["lead"]["reverse"]["value"] == pytest.approx(2)


def test_capabilities_count_the_same_whatever_the_number_of_their_targets() -> None:
    scores = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 10.0]])
    capabilities = Capabilities.over({"one": ("s", "t"), "two": ("u",)}, scores)
    base = scores[0]
    assert capabilities.of(OVERALL, scores[1], base) == pytest.approx(1)
    assert capabilities.of(OVERALL, np.array([0.0, 0.0, 10.0]), base) == pytest.approx(0.5)
    assert capabilities.of("one", np.array([1.0, 0.0, 10.0]), base) == pytest.approx(0.5)


def test_the_configurations_of_both_sizes_are_read(tmp_path: Path) -> None:
    for size, sized in RATIOS.sizes.items():
        assert TRANSFER.smaller.text(size) != RATIOS.text(size)
        (tmp_path / f"{size}.toml").write_text(RATIOS.text(size))
        loaded = config.load(tmp_path / f"{size}.toml")
        assert sum(loaded.mix.capabilities.values()) == pytest.approx(1)
        assert set(loaded.mix.capabilities) <= set(loaded.setup["targets"])
        assert changed_text(sized.example, {}) != RATIOS.text(size)
