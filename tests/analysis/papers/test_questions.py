"""The open questions and error bounds on very small models: laws of what they find, and the page of it."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.many_datasets import many_of
from helpers.subset_truth import place_of, toy

from analysis.papers.catalogue import EXPERIMENTS
from analysis.papers.corrected import scheffe_rows
from analysis.papers.error_bound import ErrorBound, Reach
from analysis.papers.experiment import Experiment, Found
from analysis.papers.questions import rules
from analysis.papers.questions.deploy import Deploy
from analysis.papers.questions.ground import Ground
from analysis.papers.questions.harm import Harm
from analysis.papers.questions.paired import lead, more_gain, regret, spearman, worth
from analysis.papers.questions.recipes import Recipes, Variant
from analysis.papers.questions.simplex import Simplex
from analysis.studies.of_papers import redraw
from m2m.executors.local import Local
from m2m.support.progress import nobody
from paper_figs.questions.verdict import verdict

MINUTES: Any = {"fast": 1, "full": 1}
CONSENSUS = next(rule for rule in rules.RULES if rule.name == "consensus")
MEAN = rules.Rule("plain", "the mean again", "linear", lambda count: 1 / count, {})
HALF = rules.Rule("half", "half the mean", "task_arithmetic", lambda count: 0.5 / count, {})


def measured(one: Experiment, out: Path) -> Found:
    return one.measure(place_of(one.name, out), "fast")


def test_a_merge_at_its_own_place_is_the_merge_and_longer_training_goes_further(tmp_path: Path) -> None:
    truth = toy(tmp_path)
    found = measured(Harm(truth, MINUTES, {"fast": 2, "full": 2}), tmp_path / "out").content
    grid = Ground.of(truth, place_of("question_harm", tmp_path / "out"), "fast").grid
    gain = float(np.mean((grid.merged - grid.base[:, None])[:, grid.large]))
    # The base is one more summand, of weight zero; means are added in another order.
    assert found["kinds"]["merged"]["gain"] == pytest.approx(gain, rel=1e-12)
    assert found["kinds"]["trained"]["avoided"]["value"] == 0
    assert [point["scale"] for point in found["line"]] == [0.5, 1.0, 1.5, 2.0]
    distances = [point["distance"] for point in found["line"]]
    assert distances == pytest.approx([scale * distances[1] for scale in (0.5, 1, 1.5, 2)])
    assert found["kinds"]["as_far"]["distance"] == pytest.approx(1)
    assert found["long"]["mixtures"] == found["path"]["pairs"] == 3
    assert len(found["path"]["gain"]) == len(found["path"]["places"])


def test_the_mean_by_another_door_selects_as_the_mean_does(tmp_path: Path) -> None:
    one = rules.RulesSelect(toy(tmp_path), MINUTES, (MEAN, HALF, CONSENSUS))
    found = measured(one, tmp_path / "out").content
    plain = found["rules"]["plain"]
    assert plain["spearman_lead"]["value"] == 0
    assert plain["pearson"]["value"] == pytest.approx(found["mean"]["pearson"]["value"], abs=1e-9)
    assert found["rules"]["half"]["pearson"]["value"] != found["mean"]["pearson"]["value"]
    assert found["mean"]["mixtures"] == 4
    assert 0 <= found["rules"]["consensus"]["regret"]["value"] <= 1
    assert set(found["free"]) == {"best_member", "mean_of_members"}


def test_scheffe_rows_are_the_experts_and_the_pairs_where_those_were_trained() -> None:
    pairs = list(combinations(range(3), 2))
    corners = np.eye(3)
    middles = np.array([[0.5 * (k in pair) for k in range(3)] for pair in pairs])
    rows = scheffe_rows(np.vstack([corners, middles]), pairs)
    assert np.array_equal(rows, np.eye(6))
    ratio = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    assert scheffe_rows(ratio, pairs).sum(1) == pytest.approx(1)


def test_worth_is_the_mean_and_its_interval_that_of_the_targets() -> None:
    random = np.random.default_rng(1)
    truth, own = random.normal(size=(1, 5, 7)), random.normal(size=(5, 7))
    found = worth(more_gain, own, truth)
    differences = own.mean(1) - truth[0].mean(1)
    assert found.value == pytest.approx(differences.mean())
    assert found.high is not None
    # The jackknife of a mean is the textbook's standard error.
    error = differences.std(ddof=1) / np.sqrt(5)
    assert found.high - differences.mean() == pytest.approx(2.776445 * error, rel=1e-6)
    two_seeds = worth(more_gain, own, np.concatenate([truth, truth + random.normal(size=truth.shape)]))
    assert two_seeds.high is not None
    assert "seeds" in two_seeds.method


def test_a_surrogate_is_no_better_than_itself_and_the_truth_loses_nothing() -> None:
    truth = np.random.default_rng(2).normal(size=(1, 4, 6))
    own = np.random.default_rng(3).normal(size=(4, 6))
    same = lead(spearman, own, own, truth)
    assert same.value == 0
    assert same.low is None
    assert worth(regret, truth[0], truth).value == 0
    assert worth(spearman, truth[0], truth).value == pytest.approx(1)
    assert lead(spearman, truth[0], own, truth).value == pytest.approx(
        1 - (worth(spearman, own, truth).value or 0)
    )
    assert worth(spearman, own[:2], truth[:, :2]).low is None


def test_a_verdict_needs_the_whole_interval() -> None:
    words = ("more", "less", "nothing")
    assert verdict({"low": 0.1, "high": 0.2}, *words) == "more"
    assert verdict({"low": -0.2, "high": -0.1}, *words) == "less"
    assert verdict({"low": -0.1, "high": 0.1}, *words) == "nothing"
    assert verdict({"low": None, "high": None}, *words) == "nothing"


def test_the_keys_of_experiments_tell_their_sizes_and_names_apart() -> None:
    assert len({one.name for one in EXPERIMENTS}) == len(EXPERIMENTS)
    for one in EXPERIMENTS:
        assert one.made_from("fast") != one.made_from("full")
        assert set(one.minutes) == {"fast", "full"}


@pytest.mark.slow
def test_the_page_has_every_question_and_twice_the_same_figures(tmp_path: Path) -> None:
    truth, out, page = toy(tmp_path), tmp_path / "out", tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    fast: Any = {"run.truth_seeds": 1}
    variants = (Variant("steps", "3", {}), Variant("steps", "1", {"train.steps": 1}))
    every: list[Experiment] = [
        ErrorBound(truth, "rain", {"fast": Reach(("a+b", "b+c"), 2, 4, 1)}),
        Harm(truth, MINUTES, {"fast": 2}),
        rules.RulesSelect(truth, MINUTES, rules.RULES),
        Deploy(truth, MINUTES, {"fast": 2}),
        Recipes(truth, MINUTES, {"fast": fast}, {"fast": variants}, examples=(2, 4, 8)),
        Simplex(truth, MINUTES, {"fast": 5}),
        many_of(tmp_path),
    ]
    redraw(every, out, page, "fast", Local(1), nobody)
    text = page.read_text()
    ours = text[text.index("## Error-bound analyses") :]
    # One question is asked of MergeMix's ratios, whose own test draws it.
    assert re.findall(r"Not run at this size yet: (.*)", ours) == ["mergemix_ratios."]
    assert ours.count("**Verdict**") == 7
    pictures = {path: path.read_bytes() for path in sorted((out / "figures").rglob("*.*"))}
    assert len(pictures) >= 3 * 8
    assert all(done.kept for done in redraw(every, out, page, "fast", Local(1), nobody).study)
    assert pictures == {path: path.read_bytes() for path in pictures}
