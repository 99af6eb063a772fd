"""A run chosen for a weighted utility of targets: what it is, what is picked by it, and where it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.linear_setup import LinearSetup, from_table, run_config
from hypothesis import given
from hypothesis import strategies as st

import analysis
import m2m
from analysis.trained_run import open_run
from analysis.validate.evidence import of_test_scores
from m2m import pipeline
from m2m.errors import ConfigError, InputError
from m2m.mixture import all_subsets
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.target_utility import TargetUtility
from m2m.scoring.table import ScoreTable
from m2m.setups.protocol import Examples, Target

WEIGHTS = "target = { target = 3, mirror = 1 }"


def two_targets(spec: object) -> LinearSetup:
    """The linear set-up with a second target, whose labels are the first one's turned round, a size up."""
    setup = from_table({})
    first = setup.targets["target"]
    mirrored = [Examples((data.tensors[0], -40 * data.tensors[1])) for data in (first.validation, first.test)]
    return replace(setup, targets={"target": first, "mirror": Target(*mirrored)}, version="two-1")


def written(folder: Path, target: str, run: str = "validate = true\nseed = 3") -> Path:
    text = run_config(run).replace('target = "target"', target, 1)
    path = folder / "run.toml"
    path.write_text(text.rpartition("factory")[0] + f'factory = "{Path(__file__)}:two_targets"\n')
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("several")
    m2m.run(written(place, WEIGHTS), place / "out", workers=1)
    return RunFolder(place / "out")


def losses(folder: RunFolder, origin: str, task: str, **what: object) -> dict[str, float]:
    with ScoreTable(folder.table, read_only=True) as table:
        rows = table.rows(origin=origin, task=task, **what)
        return {row.candidate: row.value for row in rows}


@pytest.mark.parametrize(("chosen", "origin", "seed"), [("picked", "merged", None), ("oracle", "trained", 3)])
def test_the_best_utility_is_picked(finished: RunFolder, chosen: str, origin: str, seed: int | None) -> None:
    labels = [mixture.label for mixture in all_subsets("abc")]
    utility = np.zeros(len(labels))
    for task, weight in {"target": 0.75, "mirror": 0.25}.items():
        merged = losses(finished, "merged", task, split="validation")
        base = losses(finished, "base", task, split="validation")["base"]
        of = losses(finished, origin, task, split="validation", seed=seed)
        utility += weight * np.array([base - of[label] for label in labels]) / np.std(list(merged.values()))
    results = finished.read_results()
    assert "+".join(results[chosen]) == labels[int(np.argmax(utility))]
    if chosen == "oracle":
        assert results["validation"]["oracle"] == pytest.approx(np.max(utility))


def test_results_say_utility_and_what_it_is_made_of(finished: RunFolder) -> None:
    results = finished.read_results()
    assert (results["target"], results["metric"], results["higher_is_better"]) == (
        "3 target + mirror", "utility", True,
    )  # fmt: skip
    parts = results["utility"]
    assert parts["weights"] == {"target": 0.75, "mirror": 0.25}
    for split in ("test", "validation"):
        assert results[split]["base"] == 0
        for name, said in results[split].items():
            gains = [
                parts["weights"][t] * (of["base"] - of[name]) / parts["scales"][t]
                for t, of in parts[split].items()
            ]
            assert said == pytest.approx(sum(gains))


def test_the_pick_leads_the_others_by_the_utility_with_an_interval(finished: RunFolder) -> None:
    results = finished.read_results()
    for other in results["best_merged"][1:]:
        assert other["lead"]["value"] == pytest.approx(other["difference"])
        assert other["lead"]["low"] < other["lead"]["value"] < other["lead"]["high"]


def test_fidelity_report_and_figures_tell_of_the_utility(finished: RunFolder) -> None:
    results, name = finished.read_results(), "3 target + mirror"
    first, *others = results["fidelity"]
    assert (first, sorted(others)) == (name, ["mirror", "target"])
    assert results["fidelity"][name]["picked"] == "+".join(results["picked"])
    assert results["fidelity"][name]["oracle"] == "+".join(results["oracle"])
    assert results["beside"]["by"][name]["merged"]["n"] == 4
    lost = results["beside"]["choices"][name]["regret"]["merged"]["value"]
    assert (lost == 0) == (results["picked"] == results["oracle"])
    # What is pooled is of targets alone: the utility is made of them.
    assert results["beside"]["overall"]["merged"]["n"] == 8
    page = finished.report.read_text()
    assert "scores best on 3 target + mirror" in page
    assert "Its targets" in page
    assert f"regret, {name}" in page
    points = (finished.figures / "fidelity_points.csv").read_text()
    assert points.count(f"\n{name},utility,True") == 7


def test_every_surrogate_is_asked_about_the_utility_as_merging_is(
    finished: RunFolder, tmp_path: Path
) -> None:
    """The members' mean utility is the utility of the members' means."""
    study = analysis.measure_fidelity(finished.root, tmp_path / "again").study
    [picked] = {
        p.picked
        for p in study.beside.picks
        if p.surrogate == "mean_of_members" and p.targets == ("3 target + mirror",)
    }
    points = study.chosen_for["3 target + mirror"].points
    of = dict(zip(points.labels, points.merged, strict=True))
    means = {label: float(np.mean([of[name] for name in label.split("+")])) for label in points.labels}
    assert means[picked] == pytest.approx(max(means.values()))


def test_claims_on_the_test_split_are_about_the_utility(finished: RunFolder) -> None:
    results = finished.read_results()
    found = of_test_scores(finished, results)
    assert found["no_negative_transfer"].value == pytest.approx(results["test"]["picked"])
    for claim, other in {"beats_all": "all", "beats_similarity": "similarity"}.items():
        assert found[claim].value == pytest.approx(
            results["test"]["picked"] - results["test"][other], abs=1e-12
        )
    assert found["no_negative_transfer"].method == "Welch-Satterthwaite"


def test_mix_weighs_the_run_s_targets_and_one_target_s_verbs_ask_which(
    finished: RunFolder, tmp_path: Path
) -> None:
    found = m2m.mix(
        written(tmp_path, WEIGHTS, "[mix]\nseeds = 8\nbootstrap = 0"), tmp_path / "mix", workers=1
    )
    assert {fit.target.name: fit.target.weight for fit in found.fits} == {"target": 0.75, "mirror": 0.25}
    with pytest.raises(InputError, match="several targets at once"):
        open_run(finished.root).target_named(None)
    with pytest.raises(ConfigError, match="several targets at once, target, mirror"):
        m2m.search(finished.root, budget=4)


def test_one_target_s_weight_says_nothing(tmp_path: Path) -> None:
    named, weighted = (
        config.load(written(tmp_path, text)) for text in ('target = "mirror"', "target = { mirror = 7 }")
    )
    assert named.identity == weighted.identity
    assert weighted.run.weights == {"mirror": 1.0}
    both = [
        config.load(written(tmp_path, f"target = {{ {text} }}"))
        for text in ("a = 1, b = 2", "b = 2.0, a = 1.0")
    ]
    assert both[0].identity == both[1].identity


@pytest.mark.parametrize(
    "target",
    [
        *("7", "{}", '{ target = "1" }', "{ target = true }"),
        *("{ target = 0 }", "{ target = -1 }", "{ target = nan }", "{ target = 1e308, mirror = 1.7e308 }"),
    ],
)
def test_what_is_no_target_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`target`"):
        config.load(written(tmp_path, f"target = {target}"))


def test_an_unknown_target_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no target 'miror'"):
        pipeline.run(config.load(written(tmp_path, "target = { target = 1, miror = 1 }")), tmp_path / "out")


@given(
    scores=st.lists(st.floats(-5, 5), min_size=3, max_size=6),
    factor=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
)
def test_a_target_s_unit_does_not_matter(scores: list[float], factor: float, shift: float) -> None:
    first = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])[: len(scores)]
    second = np.array(scores)
    weights = {"a": 0.5, "b": 0.5}

    def utilities(of_second: np.ndarray, base: float) -> np.ndarray:
        by = {"a": first, "b": of_second}
        return TargetUtility.over(weights, by, {"a": False, "b": False}).of(by, {"a": 0.0, "b": base})

    if np.ptp(second) > 1e-3:
        np.testing.assert_allclose(
            utilities(factor * second + shift, shift), utilities(second, 0.0), rtol=1e-6, atol=1e-6
        )
