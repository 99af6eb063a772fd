"""`[run] baselines = false` trains the pick alone; the folder can get its baselines later."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.linear_setup import run_config

import m2m
from analysis.studies import validate_claims
from m2m.pipeline.run_folder import RunFolder

SEED = "seed = 3\n"


def run(place: Path, options: str) -> RunFolder:
    (place / "run.toml").write_text(run_config(SEED + options))
    return RunFolder(m2m.run(place / "run.toml", place / "out", workers=1).folder)


def mixtures_of(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.root.glob("mixtures/*")}


def test_the_pick_alone_is_trained_and_the_baselines_can_come_later(tmp_path: Path) -> None:
    alone = run(tmp_path, "baselines = false")
    found = alone.read_results()
    picked = found["picked"]
    assert list(found["test"]) == ["base", "picked"]
    assert mixtures_of(alone) == ({"+".join(picked)} if len(picked) > 1 else set())
    assert not alone.embeddings.exists()
    assert alone.report.exists()

    later = run(tmp_path, "")
    assert later.root == alone.root
    assert list(later.read_results()["test"]) == ["base", "picked", "all", "similarity", "random"]
    assert later.read_results()["test"]["picked"] == found["test"]["picked"]


@pytest.mark.parametrize("more", ["validate = true", "validate = 2"])
def test_validation_goes_without_baselines(more: str, tmp_path: Path) -> None:
    folder = run(tmp_path, f"baselines = false\n{more}")
    results = folder.read_results()
    assert results["picked_after_trainings"]
    # Where every mixture is trained the baselines cost nothing, and are there.
    assert ("all" in results) == (more == "validate = true")


def test_claims_about_baselines_stay_open_without_them(tmp_path: Path) -> None:
    folder = run(tmp_path, "baselines = false")
    outcome = validate_claims([folder.root], tmp_path / "claims", trainings=False, curvature=False)
    outcomes = {verdict.claim.name: verdict for verdict in outcome.study.verdicts}
    assert outcomes["beats_all"].evidence is None
    assert outcomes["no_negative_transfer"].evidence is not None
