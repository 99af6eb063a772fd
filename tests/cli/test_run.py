"""`m2m run` and `m2m report` on linear regression: the whole path, told to programs and to people."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from helpers.linear_setup import run_config

import m2m
from m2m.cli import main

CONFIG = run_config()


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return str(path)


def test_a_run_ends_in_a_report_for_people_and_for_programs(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["run", config, "--out", str(out), "--workers", "1", "--validate"]
    assert main(command) == 0
    text, err = capsys.readouterr()
    assert "trained mixtures" in err

    # The same command again finds everything done.
    assert main([*command, "--json", "-q"]) == 0
    told, err = capsys.readouterr()
    results = json.loads(told)
    assert err == ""
    found, datasets = results["fidelity"]["target"], len(results["datasets"])
    assert found["mixtures"]["pearson"]["n"] == 2**datasets - 1 - datasets
    assert found["with_singletons"]["pearson"]["n"] == 2**datasets - 1
    assert text.startswith(f"Train on {' + '.join(results['picked'])} for target.\n")
    assert f"{results['test']['picked']:.4f}" in text
    assert "beside what the experts say without merging" in text
    assert set(results["similarities"]["target"]) == set(results["datasets"])
    assert {"best_member", "mean_of_members", "similarity"} <= set(results["beside"]["overall"])
    assert f"report: {results['report']}" in text
    first, second = results["best_merged"][:2]
    selected = m2m.select(out, task="target")
    assert (first["mixture"], first["score"]) == (list(selected.members), selected.value)
    assert selected.runner_up is not None
    assert selected.runner_up.difference is not None
    assert second["lead"] == pytest.approx(asdict(selected.runner_up.difference))
    if "picked_after_trainings" not in results or results["picked_after_trainings"] == results["picked"]:
        assert f"runner-up: {' + '.join(second['mixture'])}, by {second['lead']['value']:+.3g} [" in text
    page = Path(results["report"]).read_text(encoding="utf-8")
    assert "The pick and those next to it" in page
    assert list((out / "figures").glob("*.svg"))

    Path(results["report"]).unlink()
    assert main(["report", str(out), "-q"]) == 0
    assert Path(results["report"]).exists()


def test_a_pick_among_equals_is_said_to_be_one(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # With no step to speak of every expert, and so every merged model, is the base model.
    frozen = re.sub(r"learning_rate = .*", "learning_rate = 1e-300", CONFIG)
    Path(config).write_text(frozen, encoding="utf-8")
    command = ["run", config, "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(command) == 0
    said = "6 other mixtures have a merged model of exactly the same score"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert main([*command, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["ties"] == 6


def test_few_trainings_judge_the_pick_for_people_and_for_programs(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", config, "--out", str(tmp_path / "out"), "--workers", "1", "--validate", "2"]
    assert main([*command, "--until", "P(within 1 %) > 0.999999"]) == 0
    text = capsys.readouterr().out
    assert main([*command, "-q", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert f"Why: {results['why']}." in text
    assert "the pick, judged by few trainings:" in text
    assert "agreement" in text
    assert results["trust"]["trained"] == results["trust"]["mixtures"]  # the baselines and two more
    assert "none that these trainings show" in text
    assert results["trust"]["tolerance"] == 0.05  # without --until
    page = Path(results["report"]).read_text(encoding="utf-8")
    assert "Can the pick be trusted? Few trainings" in page
    assert "is a belief from" not in page
    assert "once each" in page
    # What a configuration asks for can be done without.
    Path(config).write_text(run_config('until = "P(within 1 %) > 0.5"'), encoding="utf-8")
    short = ["run", config, "--out", str(tmp_path / "short"), "--workers", "1", "--no-validate"]
    assert main([*short, "-q", "--json"]) == 0
    assert "trust" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("many", ["0", "some"])
def test_no_number_of_trainings(many: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", config, "--out", "nowhere", "--validate", many])
    err = capsys.readouterr().err
    assert f"argument --validate: '{many}' is not a whole number of at least 1" in err
    assert err.count("\n") == 1


def test_an_end_of_trainings_that_is_none_makes_no_folder(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", config, "--out", str(tmp_path / "out"), "--until", "P > 0.9"]) == 2
    err = capsys.readouterr().err
    assert "`until` must be of the form 'P(within 2 %) > 0.9', got 'P > 0.9'" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("steps = 3", "stesp = 3"), "unknown key 'stesp' (did you mean 'steps'?)"),
        (('target = "target"', 'target = "nowhere"'), "nowhere"),
        (("[setup]", "[setup"), "is not a run configuration (TOML)"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_makes_no_folder(
    change: tuple[str, str], said: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config).write_text(CONFIG.replace(*change), encoding="utf-8")
    assert main(["run", config, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_a_run_is_left_as_it_is(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", config, "--out", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]
    assert main(["report", str(tmp_path)]) == 2


def test_a_run_of_an_earlier_m2m_is_told_of_once(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["run", config, "--out", str(out), "--workers", "1"]
    assert main([*command, "-q"]) == 0
    identity = json.loads((out / "run.json").read_text())
    del identity["contents"], identity["origins_noted"]
    (out / "run.json").write_text(json.dumps(identity))
    capsys.readouterr()
    for times in (1, 0):
        assert main(command) == 0
        assert capsys.readouterr().err.count(f"m2m: note: {out} is of an earlier m2m") == times


def test_a_dry_run_is_told_to_people_and_to_programs_and_makes_no_folder(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["run", config, "--dry-run", "--workers", "2", "--until", "P(within 2 %) > 0.9"]) == 0
    text, err = capsys.readouterr()
    assert text.startswith("A run of run.toml would do this; nothing was kept.\n")
    for row in (r"experts +3 +9 +18 +–", r"to judge the pick +0 to \d", r"merged candidates +7 +7 +49"):
        assert re.search(row, text)
    assert "with 2 workers" in text
    assert "timing a step and a forward" in err
    assert main(["run", config, "--dry-run", "--out", str(out), "-q", "--json"]) == 0
    found, err = capsys.readouterr()
    assert err == ""
    told = json.loads(found)
    assert told["workload"]["trainings"][0]["most"] == 3
    assert told["seconds"]["trainings"] > 0
    assert not out.exists()

    assert main(["run", config, "--out", str(out), "--workers", "1", "-q"]) == 0
    capsys.readouterr()
    assert main(["run", config, "--dry-run", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"nothing was kept ({out} has " in text
    assert "trainings: none is left\n" in text
    assert "scored: none is left\n" in text


def test_a_dry_run_of_a_cluster_is_one_line(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", config, "--dry-run", "--executor", "ray"]) == 2
    assert "--dry-run estimates for this machine: leave out --executor" in capsys.readouterr().err


def test_a_run_without_a_folder_is_one_line(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", config]) == 2
    err = capsys.readouterr().err
    assert "--out PATH is missing, the run folder; --dry-run alone goes without" in err
    assert err.count("\n") == 1
