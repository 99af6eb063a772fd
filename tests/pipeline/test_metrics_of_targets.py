"""A validated run whose targets have different metrics: chosen, studied and told of by each one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.linear_setup import from_table, run_config

import analysis
import m2m
from analysis.trust.sources import of_run as landscapes_of
from analysis.validate.evidence import of_test_scores
from analysis.validate.grid import read_grid
from m2m import pipeline
from m2m.pipeline import config
from m2m.pipeline.provenance import checkpoint_key
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable
from m2m.setups.protocol import contents_of
from m2m.support.content_keys import content_key

OWN = """
import torch

METRICS = {"closeness": True, "distance": False}
PLACE = torch.tensor([0.5, -1.0, 0.25, 0.0, 2.0], dtype=torch.float64)


def near(model, split):
    away = (model.theta - PLACE).abs() + (split == "test")
    return {"closeness": -away, "distance": away}
"""
NEAR = """
[setup.targets.near]
task = "own.py:near"
"""


def written(folder: Path, target: str) -> Path:
    (folder / "own.py").write_text(OWN)
    path = folder / "run.toml"
    text = run_config("validate = true\nseed = 3").replace('target = "target"', f"target = {target}", 1)
    path.write_text(text + NEAR)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("metrics")
    m2m.run(written(place, '"near"'), place / "out", workers=1)
    return RunFolder(place / "out")


def values(folder: RunFolder, origin: str, task: str, metric: str) -> dict[str, float]:
    with ScoreTable(folder.table, read_only=True) as table:
        rows = table.rows(origin=origin, task=task, metric=metric, split="validation")
        return {row.candidate: row.value for row in rows if row.seed in (None, 3)}


def test_results_say_what_decides_on_each_target(finished: RunFolder) -> None:
    results = finished.read_results()
    assert (results["metric"], results["higher_is_better"]) == ("closeness", True)
    assert results["metrics"] == {
        "near": {"metric": "closeness", "higher_is_better": True},
        "target": {"metric": "loss", "higher_is_better": False},
    }
    for chosen, origin in (("picked", "merged"), ("oracle", "trained")):
        scores = values(finished, origin, "near", "closeness")
        assert "+".join(results[chosen]) == max(scores, key=lambda label: scores[label])


def test_fidelity_trust_and_validation_take_each_target_s_metric(finished: RunFolder, tmp_path: Path) -> None:
    results = finished.read_results()
    by = analysis.measure_fidelity(finished.root, tmp_path / "fidelity").study.by
    assert {name: (f.points.metric, f.points.higher_is_better) for name, f in by.items()} == {
        "near": ("closeness", True), "target": ("loss", False),
    }  # fmt: skip
    landscapes = {
        found.target: (found.metric, found.higher_is_better) for found in landscapes_of(finished.root)
    }
    assert landscapes == {"near": ("closeness", True), "target": ("loss", False)}
    grid = read_grid(finished, results)
    assert set(grid.targets) == {"near", "target"}
    for name, metric, sign in (("near", "closeness", 1), ("target", "loss", -1)):
        scores = values(finished, "merged", name, metric)
        expected = [sign * scores[mixture.label] for mixture in grid.mixtures]
        np.testing.assert_array_equal(grid.merged[grid.targets.index(name)], expected)
    # Nothing of the set-up's embeds what a function judges.
    claims = of_test_scores(finished, results)
    assert set(claims) == {"beats_all", "no_negative_transfer"}
    assert claims["no_negative_transfer"].value == pytest.approx(
        results["test"]["picked"] - results["test"]["base"]
    )


def test_the_report_names_metrics(finished: RunFolder) -> None:
    page = finished.report.read_text()
    assert "near, closeness (higher is better)" in page
    assert "target, loss (lower is better)" in page


def test_targets_of_several_metrics_make_one_utility(tmp_path: Path) -> None:
    path = written(tmp_path, "{ near = 3, target = 1 }")
    results = pipeline.run(config.load(path), tmp_path / "out", workers=1).read_results()
    parts, up = results["utility"], {"near": 1, "target": -1}
    for split in ("test", "validation"):
        for name, said in results[split].items():
            gains = [
                parts["weights"][t] * up[t] * (of[name] - of["base"]) / parts["scales"][t]
                for t, of in parts[split].items()
            ]
            assert said == pytest.approx(sum(gains))
    found = of_test_scores(RunFolder(tmp_path / "out"), results)
    assert found["no_negative_transfer"].value == pytest.approx(results["test"]["picked"])


def test_a_run_without_tasks_is_what_it_was(tmp_path: Path) -> None:
    """Nothing of a run whose set-up judges all its targets changed when tasks could judge some."""
    path = tmp_path / "run.toml"
    path.write_text(written(tmp_path, '"target"').read_text().removesuffix(NEAR))
    folder = pipeline.run(config.load(path), tmp_path / "out", workers=1)
    results = folder.read_results()
    assert (results["metric"], results["higher_is_better"]) == ("loss", False)
    assert "metrics" not in results
    assert folder.contents == contents_of(from_table({}))
    key = content_key("trained", checkpoint_key(folder.base))
    with ScoreTable(folder.table) as table:
        assert table.versions() == {"linear-1"}
        assert {row.key for row in table.rows(origin="base")} == {key}
        columns = {(row.task, row.metric, row.higher_is_better) for row in table.rows()}
    assert columns == {("target", "loss", False)}
