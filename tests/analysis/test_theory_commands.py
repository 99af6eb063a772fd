"""`m2m-analysis curvature | interaction | error-bound` on a run of full-batch gradient descent."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.linear_setup import run_config
from helpers.missing_numbers import unexplained

from analysis.cli import main
from m2m import pipeline
from m2m.pipeline import config

FILES = {
    "curvature": {
        "curvature.json",
        "curvature.csv",
        "curvature_interactions.csv",
        "curvature_quadratic.csv",
        "curvature_spectrum.csv",
        "curvature_density.csv",
        "curvature_density.png",
        "curvature_density.svg",
        "curvature_gamma.png",
        "curvature_gamma.svg",
        "curvature_quadratic.png",
        "curvature_quadratic.svg",
    },
    "interaction": {
        "interaction.json",
        "interaction.csv",
        "interaction_residual.png",
        "interaction_residual.svg",
    },
    "outlook": {"outlook.json", "outlook.csv", "outlook.png", "outlook.svg"},
    "error-bound": {"error_bound.json", "error_bound.csv", "error_bound.png", "error_bound.svg"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("theory")
    (folder / "run.toml").write_text(run_config("validate = true", steps=4, batch=24, learning_rate=2e-3))
    return pipeline.run(config.load(folder / "run.toml"), folder / "out", workers=1).root


def done(verb: str, run: Path, out: Path, *options: str) -> dict[str, Any]:
    assert main([verb, str(run), "--out", str(out), *options]) == 0
    assert {path.name for path in out.iterdir()} == FILES[verb]
    assert unexplained(out) == []
    content: dict[str, Any] = json.loads((out / f"{verb.replace('-', '_')}.json").read_text())
    assert content["source"]["config"] == json.loads((run / "run.json").read_text())["identity"]
    assert set(content["source"]) == {"run", "config", "setup", "seed", "versions"}
    return content


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_curvature(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = done("curvature", run, tmp_path / "out", "--forward", "--spectra")
    assert [content["gamma"][k][k] for k in range(3)] == pytest.approx([1, 1, 1])
    assert len(rows(tmp_path / "out" / "curvature_interactions.csv")) == 27
    # Least squares: the quadratic model is the loss.
    assert content["quadratic"]["largest_error"] < 1e-12
    assert content["quadratic"]["spearman"] == pytest.approx(1)
    assert content["forward"]["largest_gap_in_stated_errors"] <= 1
    assert set(content["spectra"]) == {"a", "b", "c"}
    printed = capsys.readouterr().out
    assert "Spearman 1.000 with the losses of 7 merged models" in printed


def test_interaction(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = done("interaction", run, tmp_path / "out", "--anchored", "0.5", "--json")
    assert content["outside_theory"] == []
    assert [row["mixture"] for row in content["residuals"]] == ["a+b", "a+c", "b+c", "a+b+c"]
    for row in content["residuals"]:
        assert row["share"] >= 0.95
        assert row["relative"] < 0.05
        assert row["printed"] == pytest.approx(row["predicted"] * 16 / 12)
        assert row["effect"] == pytest.approx(row["trained_loss"] - row["merged_loss"], rel=0.05)
    assert content["residuals"][-1]["corrected"] < 0.05
    assert [row["corrected"] for row in content["residuals"][:3]] == [None] * 3
    assert content["anchored"]["ratio"] == pytest.approx(0.25, rel=0.05)
    line = json.loads(capsys.readouterr().out)
    assert line["anchored"] == content["anchored"]
    assert "residuals" not in line


def test_where_theory_stops_explaining(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--step-sizes", "1/64,1/2,1/512", "--horizons", "4,2", "--mixture", "a+c", "--out", str(out)]
    assert main(["interaction", str(run), *options]) == 0
    assert {path.name for path in out.iterdir()} == {
        "interaction_steps.json",
        "interaction_steps.csv",
        "interaction_steps.png",
        "interaction_steps.svg",
    }
    assert unexplained(out) == []
    content = json.loads((out / "interaction_steps.json").read_text())
    assert content["mixture"] == "a+c"
    table = rows(out / "interaction_steps.csv")
    where = [(row["steps"], float(row["step_size"])) for row in table]
    assert where == [(t, size) for t in "24" for size in (1 / 512, 1 / 64, 1 / 2)]
    # Least squares: two steps have no third order, and all orders of ηH together leave rounding only.
    assert all(float(row["share"]) == pytest.approx(1, abs=1e-12) for row in table if row["steps"] == "2")
    assert all(float(row["share_any_horizon"]) == pytest.approx(1, abs=1e-12) for row in table)
    four = [float(row["share"]) for row in table if row["steps"] == "4"]
    assert four[0] > 0.9999 > four[1] > 0.95 > four[2]
    assert content["explained_up_to"] == {"2": 0.5, "4": 1 / 64}
    small = table[3]
    assert float(small["rho"]) == pytest.approx(float(small["relative"]), rel=0.02)
    assert "T = 4: 95 % or more up to η‖H‖ = 0.015625" in capsys.readouterr().out


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_other_optimizers(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], optimizer: str
) -> None:
    out = tmp_path / "out"
    options = ["--step-sizes", "1/64", "--horizons", "2,3", "--optimizer", optimizer, "--out", str(out)]
    assert main(["interaction", str(run), *options]) == 0
    assert f"full-batch {optimizer}" in capsys.readouterr().out
    assert unexplained(out) == []
    table = rows(out / "interaction_steps.csv")
    # Least squares: all orders of ηH leave rounding, and so do two orders after two steps.
    assert all(float(row["share_any_horizon"]) == pytest.approx(1, abs=1e-9) for row in table)
    assert float(table[0]["share"]) == pytest.approx(1, abs=1e-9)
    assert float(table[1]["share"]) > 0.99
    if optimizer == "adam":
        assert all(0.5 < float(row["share_first_order"]) < float(row["share"]) for row in table)
        assert all(float(row["relative"]) > 0.1 for row in table)


def test_error_bound(run: Path, tmp_path: Path) -> None:
    content = done("error-bound", run, tmp_path / "out", "--mixture", "a+c", "--target", "target")
    assert content["mixture"] == "a+c"
    assert (
        content["estimated_bounds_that_hold"] == content["estimated_bounds"] == 16
    )  # the run's own optimizer is plain SGD
    assert content["exponent_of_rate"][0] == pytest.approx(2, abs=0.05)
    assert content["exponent_of_horizon"][0] == pytest.approx(1, abs=0.1)
    table = rows(tmp_path / "out" / "error_bound.csv")
    assert [row["sweep"] for row in table] == ["rate"] * 8 + ["horizon"] * 4 + ["own"] * 4
    assert all(float(row["measured"]) <= float(row["estimated_bound"]) for row in table)


def test_error_bound_tells_how_far_it_is(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["error-bound", str(run), "--out", str(tmp_path / "told")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == [f"m2m: gradients and curvature at the base {done}/1" for done in (0, 1)]
    # Step sizes and horizons, then the run's own optimizer; what is told in between depends on the clock.
    ends = [f"m2m: recipes trained and bounded {end}" for end in ("0/12", "12/12", "0/4", "4/4")]
    assert [line for line in told if line in ends] == ends
    assert main(["error-bound", str(run), "--out", str(tmp_path / "quiet"), "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_outlook(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = done("outlook", run, tmp_path / "out")
    # Least squares and small steps: the predicted residual is nearly the real one, and short.
    assert content["reach"] < 0.05
    assert (content["mixtures"], content["beyond"], content["outside"]) == (4, False, [])
    (target,) = content["targets"]
    assert target["verdict"] == "good"
    assert target["predicted"] == pytest.approx(target["true"], abs=0.01)
    assert "target: good, predicted r" in capsys.readouterr().out


def test_the_same_bytes_again(run: Path, tmp_path: Path) -> None:
    for name in ("first", "again"):
        assert main(["interaction", str(run), "--out", str(tmp_path / name)]) == 0
    for name in FILES["interaction"]:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("curvature", ["--target", "nowhere"], "no target 'nowhere'; the run has ['target']"),
        ("interaction", ["--anchored", "2"], "own share must be above 0 and at most 1, got 2"),
        ("interaction", ["--mixture", "a+b"], "--mixture says what --step-sizes trains; give --step-sizes"),
        ("interaction", ["--optimizer", "adam"], "--optimizer says what --step-sizes trains; give"),
        ("interaction", ["--step-sizes", "1/0"], "--step-sizes 1/0: wanted numbers above 0 with commas"),
        ("interaction", ["--step-sizes", "1,-1"], "--step-sizes 1,-1: wanted numbers above 0 with commas"),
        ("interaction", ["--step-sizes", "--horizons", "2,1"], "one leaves no residual; got [2, 1]"),
        ("interaction", ["--step-sizes", "--mixture", "b"], "the mixture b is a single dataset"),
        ("interaction", ["--step-sizes", "1", "--anchored", "0.5"], "no --anchored, no --target"),
        ("error-bound", ["--mixture", "a"], "the mixture a is a single dataset: its residual is zero"),
        ("error-bound", ["--mixture", "a+d"], "unknown datasets ['d']"),
    ],
)
def test_bad_options(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, options: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert main([verb, str(run), "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_bad_folders(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(folder: Path, out: Path = tmp_path / "out") -> str:
        assert main(["interaction", str(folder), "--out", str(out)]) == 2
        return capsys.readouterr().err

    assert "is not a run folder: it has no run.json" in refusal(tmp_path)
    (tmp_path / "file").touch()
    assert "file is a file, wanted a folder" in refusal(run, tmp_path / "file")
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "mixtures")
    assert "trained no mixture of two or more datasets" in refusal(copy)
    shutil.rmtree(copy / "experts" / "b")
    assert "is not a finished run: no expert b" in refusal(copy)
    (copy / "config.toml").write_text((copy / "config.toml").read_text().replace("steps = 4", "steps = 5"))
    assert "was changed after the run was made from it" in refusal(copy)
    (copy / "run.json").write_text("[]")
    assert "run.json is not what a run writes there" in refusal(copy)
