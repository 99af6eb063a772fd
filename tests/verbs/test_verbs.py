"""Every verb of the command line is one function: the same arguments, the same files, the same answer."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
from pathlib import Path

import pytest
from helpers.linear_setup import run_config

import analysis
import m2m
from m2m.cli import main
from m2m.cli.entry import PROGRAM
from m2m.errors import ConfigError
from m2m.exporting import Sources
from m2m.scoring.tasks import TaskOptions
from m2m.searching import Objective, Subsets

CONFIG = run_config() + "\n[mix]\nseeds = 12\npoints = 64\ntop_k = 5\nbootstrap = 3\n"
#: Verbs about this machine, not about mixtures.
OF_THE_MACHINE = {"data", "doctor"}
#: Options of every verb: how much is printed.
PRINTED = {"help", "json", "verbose", "quiet"}
#: Arguments that gather several options.
GATHERED = {"options": TaskOptions, "sources": Sources}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def arguments_of(*functions: object) -> set[str]:
    """The arguments of a verb's functions, those taken apart that gather several."""
    names = {name for function in functions for name in inspect.signature(function).parameters}  # type: ignore[arg-type]
    parts = {field.name for name in GATHERED.keys() & names for field in dataclasses.fields(GATHERED[name])}
    return names | parts


@pytest.mark.parametrize("verb", [verb for verb in PROGRAM.verbs if verb not in OF_THE_MACHINE])
def test_every_option_is_an_argument(verb: str) -> None:
    function = getattr(m2m, verb.replace("-", "_"))
    known = arguments_of(function, *([m2m.race] if verb == "score" else []))
    # Functions of their own, and how much is printed.
    known |= {"score": {"race"}, "run": {"dry_run"}, "diff": {"all"}}.get(verb, set())
    for action in PROGRAM.verb_parser(verb)._actions:
        if action.dest not in PRINTED and not isinstance(action, argparse._HelpAction):
            assert {action.dest, f"{action.dest}s"} & known, f"m2m.{verb} has no {action.dest}"


def test_the_face_names_every_verb() -> None:
    for name in {verb.replace("-", "_") for verb in set(PROGRAM.verbs) - OF_THE_MACHINE}:
        assert name in m2m.__all__
        assert f"\n    {name} " in str(m2m.__doc__)
    assert all(hasattr(m2m, name) for name in m2m.__all__)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_the_command_s(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = m2m.run(str(config), str(tmp_path / "python"), validate=True, workers=1)
    command = [
        "run",
        str(config),
        "--out",
        str(tmp_path / "command"),
        "--validate",
        "--workers",
        "1",
        "--json",
    ]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert files_of(tmp_path / "python") == files_of(tmp_path / "command")
    assert {*told} == {*report.results, "report"}
    assert {**told, "seconds": 0, "report": 0} == {**report.results, "seconds": 0, "report": 0}
    assert report.results["fidelity"]["target"]["mixtures"]["pearson"]["value"] is not None
    assert report.picked.members == tuple(told["picked"])
    assert report.page.exists()


def test_a_mix_is_drawn_and_exported(config: Path, tmp_path: Path) -> None:
    shares = tmp_path / "shares.json"
    found = m2m.mix(config, tmp_path / "out", workers=1, exports={"json": shares})
    assert (found.folder / "mix.png").exists()
    for folder in (found.folder, tmp_path / "out"):
        assert m2m.export(folder, "json", tmp_path / "again.json") == found.mixture
        assert (tmp_path / "again.json").read_bytes() == shares.read_bytes()
    with pytest.raises(m2m.errors.InputError, match=r"is a table of candidates.*take out candidate, kind"):
        m2m.predict(found.folder / "candidates.csv", found.folder / "candidates.csv", "worth")
    assert json.loads(shares.read_text())["weights"] == pytest.approx(list(found.mixture.weights), abs=1e-6)


def test_a_pick_and_its_export(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = m2m.run(config, tmp_path / "out", workers=1)
    table = report.folder / "scores.csv"
    found = m2m.select(table)
    assert (found.picked, found.candidates) == (report.picked.label, 7)
    assert m2m.select(report.folder) == found
    assert found.runner_up is not None
    assert found.runner_up.difference is not None
    assert main(["select", str(table), "--json"]) == 0
    told = dataclasses.asdict(found) | {"members": [*found.members]}
    assert told.pop("pairs") is None
    assert json.loads(capsys.readouterr().out) == told

    written = m2m.export(report.folder, "json", tmp_path / "pick.json")
    assert main(["export", str(report.folder), "--to", "json", "--out", str(tmp_path / "same.json")]) == 0
    assert (tmp_path / "pick.json").read_bytes() == (tmp_path / "same.json").read_bytes()
    assert m2m.export(written, "json", tmp_path / "again.json") == written


def test_a_search_is_the_command_s(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = m2m.run(config, tmp_path / "out", workers=1).folder
    found = m2m.search(folder, budget=5, seed=1, out=tmp_path / "python.csv")
    command = ["search", str(folder), "--budget", "5", "--seed", "1", "--out", str(tmp_path / "command.csv")]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["picked"], told["value"]) == (found.best.label, found.picked.value)
    assert told["scores"] == found.scores
    assert (tmp_path / "python.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    with pytest.raises(ConfigError, match=r"^search needs a source folder, or base and experts with a task"):
        m2m.search()
    with pytest.raises(ConfigError, match="leave out space=simplex"):
        m2m.search(folder, "simplex")


def test_few_evaluations_say_that_nothing_is_believed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = m2m.run(config, tmp_path / "out", workers=1).folder
    assert m2m.search(folder, budget=3).belief is None
    said = "how sure that is cannot be said: 3 evaluations, at least 8 are needed"
    assert main(["search", str(folder), "--budget", "3"]) == 0
    assert said in capsys.readouterr().out
    assert main(["search", str(folder), "--budget", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["belief"], told["belief_reason"]) == (None, said)


def test_a_run_s_figures_are_no_place_for_other_outputs(config: Path, tmp_path: Path) -> None:
    folder = m2m.run(config, tmp_path / "out", workers=1, validate=True).folder
    drawn = folder / "figures" / "fidelity_points.csv"
    before = drawn.read_bytes()
    for place in (drawn, folder / "figures" / "new.csv"):
        with pytest.raises(ConfigError, match=r"figures is kept by the run in"):
            m2m.export("a=1", "csv", place)
    assert drawn.read_bytes() == before
    assert analysis.measure_fidelity(folder).out == folder / "figures"  # an analysis of the run may


def test_folders_that_hold_no_mixture_and_no_scores_are_said(tmp_path: Path) -> None:
    with pytest.raises(m2m.errors.InputError, match=r"no results.json.*no mix.json"):
        m2m.export(tmp_path, "json", tmp_path / "x.json")
    with pytest.raises(m2m.errors.InputError, match=r"has no scores.csv; wanted a run folder, or the table"):
        m2m.select(tmp_path)


def test_an_objective_of_ones_own_is_searched() -> None:
    space = Subsets(["a", "b", "c", "d"])
    found = m2m.search(Objective(lambda mixture: float(len(mixture.members)), True), space)
    assert found.best.members == ("a", "b", "c", "d")
    assert found.belief is not None
    with pytest.raises(ConfigError, match="is searched over a Space"):
        m2m.search(Objective(lambda mixture: 0.0, True))


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_a_count_is_refused_by_its_argument(config: Path, tmp_path: Path, workers: int) -> None:
    for verb in (m2m.run, m2m.mix):
        with pytest.raises(ConfigError, match=r"^workers must be a whole number of at least 1"):
            verb(config, tmp_path / "out", workers=workers)
    assert not (tmp_path / "out").exists()


def test_threads_are_a_count_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^threads must be a whole number of at least 1, got 0"):
        m2m.merge(tmp_path / "recipe.yml", tmp_path / "out", threads=0)
    for verb in (m2m.score, m2m.race):
        with pytest.raises(ConfigError, match=r"^threads must be"):
            verb(tmp_path / "base", [tmp_path / "a"], out=tmp_path / "s.csv", threads=-1)


def test_an_error_names_arguments_here_and_options_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table := tmp_path / "scores.csv").write_text(
        "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
        'a,"[""a""]",merged,,t,validation,loss,1,False\nb,"[""b""]",merged,,u,validation,loss,2,False\n'
    )
    with pytest.raises(m2m.errors.InputError, match=r"say task with one of \['t', 'u'\]"):
        m2m.select(table)
    assert main(["select", str(table)]) == 2
    assert "say --task with one of ['t', 'u']" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"^to: there is no format 'jsn' \(did you mean 'json'\?\)"):
        m2m.export("a=1", "jsn", tmp_path / "x.json")
    assert main(["export", "a=1", "--to", "jsn", "--out", str(tmp_path / "x.json")]) == 2
    assert "error: --to: there is no format 'jsn'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"give setup=CONFIG.toml targets=NAME, or tasks=TASK"):
        m2m.score(tmp_path, [tmp_path], out=tmp_path / "s.csv")
    assert main(["score", "--base", "b", "--experts", "a", "--out", "s.csv"]) == 2
    assert (
        "there is nothing to score on: give --setup CONFIG.toml --target NAME, or --task TASK"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("named", [{"targets": "tests"}, {"tasks": "lm:a.txt"}])
def test_one_text_is_not_taken_for_a_list(named: dict[str, str], tmp_path: Path) -> None:
    [(name, value)] = named.items()
    with pytest.raises(m2m.errors.ConfigError, match=rf"{name} must be a list of text, got '{value}'"):
        m2m.score("base", ["a"], out=tmp_path / "s.csv", **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("candidates", [[], ["a"], [None]])
def test_candidates_are_mixtures(candidates: list[object], tmp_path: Path) -> None:
    with pytest.raises(m2m.errors.ConfigError, match=r"^candidates.* must be (mixtures|a MergingWeights)"):
        m2m.score("base", ["a"], candidates, tasks=["lm:x"], out=tmp_path / "s.csv")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "value"), [("threads", 2**31), ("context", 0), ("seed", -1), ("seed", 1.5)])
def test_counts_of_a_search_have_bounds(name: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(m2m.errors.ConfigError, match=name):
        m2m.search(base="base", experts=["a", "b"], tasks=["lm:x"], out=tmp_path / "s.csv", **{name: value})  # type: ignore[arg-type]
