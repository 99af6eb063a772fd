"""`m2m-analysis validate` on a run of seconds: every claim has a row, whatever the run can say."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.linear_setup import run_config
from helpers.missing_numbers import unexplained

from analysis.cli import main
from analysis.fidelity import intervals
from analysis.validate import CLAIMS, Options, ratios, resampling, validate

FILES = {"verdicts.json", "verdicts.csv", "verdicts.md", "verdicts.png", "verdicts.svg"}
UNMEASURABLE = {
    "hundredfold", "transfers", "hierarchical", "correlates_language", "correlates_vision",
    "picks_better_than_best_member", "picks_better_than_mean_of_members",  # one target
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("validate")
    (folder / "tiny.toml").write_text(run_config(steps=4, batch=24, learning_rate=5e-2))
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> Iterator[Path]:
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "RESAMPLES", 199)
        patch.setattr(ratios, "FINE", 500)
        patch.setattr(intervals, "RESAMPLES", 199)
        assert main(["validate", str(folder / "tiny.toml"), "--out", str(out), "--workers", "1", "-q"]) == 0
        yield out


def verdicts(out: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((out / "verdicts.json").read_text())
    return {verdict["claim"]["name"]: verdict for verdict in content["verdicts"]}


def test_every_claim_has_a_verdict(done: Path) -> None:
    assert not unexplained(done), unexplained(done)
    assert {path.name for path in done.iterdir()} == FILES | {"verdicts_ablations.csv", "runs", "models"}
    content = json.loads((done / "verdicts.json").read_text())
    assert [verdict["claim"]["name"] for verdict in content["verdicts"]] == [claim.name for claim in CLAIMS]
    assert sum(content["counts"].values()) == sum(content["counts_holm"].values()) == len(CLAIMS)
    asked = sum(verdict["p"] is not None for verdict in content["verdicts"])
    assert content["expected_false_holds"] == pytest.approx(0.025 * asked)
    assert content["counts_holm"]["unresolved"] >= content["counts"]["unresolved"]
    assert "holds if the whole 95 % interval" in content["rule"]
    assert set(content["source"]) == {"runs", "seed", "versions"}
    found = verdicts(done)
    assert {name for name, verdict in found.items() if verdict["evidence"] is None} == UNMEASURABLE
    assert all(
        verdict["reason"].startswith("needs") for name, verdict in found.items() if name in UNMEASURABLE
    )
    with (done / "verdicts.csv").open(newline="") as file:
        assert [row["outcome"] for row in csv.DictReader(file)] == [v["outcome"] for v in found.values()]
    page = (done / "verdicts.md").read_text()
    assert f"{asked} verdicts have an interval" in page
    # Verdicts on one training of each model are marked, and the mark, the second one, is explained.
    assert found["beats_all"]["evidence"]["condition"].startswith("one training of each model")
    assert "\n‡ One training of each model: the interval is over test examples" in page
    assert page.count("\n| ") == len(CLAIMS) + 8  # four tables, each with two rows of head


def test_what_a_shared_optimum_must_give(done: Path) -> None:
    found = verdicts(done)
    # Linear regression with small steps: merged and trained models nearly agree.
    assert found["correlates"]["outcome"] == "holds"
    assert found["correlates"]["run"] == "tiny"
    assert found["first_order"]["evidence"]["n"] == 4
    assert found["near_oracle"]["evidence"]["method"] == "redrawn training seeds"
    assert found["orthogonal"]["evidence"]["n"] == 3


def test_models_that_lie_there_are_not_trained_again(done: Path, folder: Path) -> None:
    run = done / "runs" / "tiny"
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*.safetensors")}
    text = {name: (done / name).read_bytes() for name in FILES}
    assert main(["validate", str(folder / "tiny.toml"), "--out", str(done), "--workers", "1", "-q"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in done.rglob("*.safetensors")}
    assert text == {name: (done / name).read_bytes() for name in FILES}
    assert (run / "results.json").exists()


def test_a_finished_run_is_only_read(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(done / "runs" / "tiny", tmp_path / "mine")
    before = {path.relative_to(run): path.stat().st_mtime_ns for path in run.rglob("*.json")}
    options = ["--no-trainings", "--no-curvature", "--json"]
    assert main(["validate", str(run), "--out", str(tmp_path / "out"), *options]) == 0
    assert before == {path.relative_to(run): path.stat().st_mtime_ns for path in run.rglob("*.json")}
    assert set(json.loads(capsys.readouterr().out)["counts_holm"]) == {"holds", "fails", "unresolved"}
    found = verdicts(tmp_path / "out")
    assert found["uniformity_matters"]["reason"] == "needs the extra trainings (see --no-trainings)"
    assert found["curvature_dominant"]["reason"].endswith("three datasets (see --no-curvature)")
    called = validate([run], Options(out=tmp_path / "python", trainings=False, curvature=False))
    reasons = {verdict.claim.name: verdict.reason for verdict in called.verdicts}
    assert reasons["uniformity_matters"] == "needs the extra trainings (see trainings)"
    # Without the mixtures there is no truth.
    shutil.rmtree(run / "mixtures")
    results = json.loads((run / "results.json").read_text())
    del results["oracle"], results["seconds"]["truth"]
    (run / "results.json").write_text(json.dumps(results))
    assert main(["validate", str(run), "--out", str(tmp_path / "less"), *options]) == 0
    less = verdicts(tmp_path / "less")
    for name in ("correlates", "few_trainings", "first_order"):
        assert (less[name]["outcome"], less[name]["run"]) == ("unresolved", "")
    assert less["orthogonal"]["evidence"] is not None


def test_claims_that_need_trainings_are_refused_where_another_program_trains(
    done: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(done / "runs" / "tiny", tmp_path / "mine")
    for configuration in (run / "config.toml", tmp_path / "own.toml"):
        text = (
            (folder / "tiny.toml").read_text().replace("[setup]", "command = ['{python}', 'x.py']\n[setup]")
        )
        configuration.write_text(text)
    for source in (run, tmp_path / "own.toml"):
        assert main(["validate", str(source), "--out", str(tmp_path / "out")]) == 2
        err = capsys.readouterr().err
        assert f"{source} trains by a command of its own" in err
        assert "leave these claims open, see --no-trainings" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out" / "runs").exists()
    options = ["--no-trainings", "--no-curvature", "-q"]
    assert main(["validate", str(run), "--out", str(tmp_path / "out"), *options]) == 0
    assert verdicts(tmp_path / "out")["uniformity_matters"]["reason"].startswith("needs the extra trainings")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["nowhere"], "nowhere: no such configuration or run folder"),
        (["."], "is not a finished run folder: it has no results.json"),
        (["a/tiny.toml", "b/tiny.toml"], "of different names, got ['tiny', 'tiny']"),
    ],
)
def test_bad_sources(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sources: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.toml").write_text("")
    assert main(["validate", *sources, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
