"""A dataset that comes later: one expert more, only what is new is scored, and all else must be as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.linear_runs import run

from m2m import pipeline
from m2m.errors import RunFolderError
from m2m.mixing import mix
from m2m.mixture import all_subsets
from m2m.pipeline import config
from m2m.pipeline.report import write_report
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable

SETUP = """
from helpers.linear_setup import linear_setup

def make(spec):
    setup = linear_setup(seed=18, names="abcd", examples=4)
    setup.datasets = {name: setup.datasets[name] for name in spec["datasets"]}
    setup.version = f"{VERSION} {list(setup.datasets)}"
    return setup
"""


def write(folder: Path, names: str, version: str = "1", **more: str) -> Path:
    """Write a configuration of some of four datasets, whose set-up has another version for each choice."""
    (folder / "own.py").write_text(SETUP.replace("VERSION", repr(version)))
    lines = {"steps": "3", "datasets": json.dumps(list(names)), "run": ""} | more
    (folder / "run.toml").write_text(
        f'[run]\ntarget = "target"\nseed = 3\n{lines["run"]}\n'
        f'[train]\nsteps = {lines["steps"]}\nbatch = 2\noptimizer = "sgd"\nlearning_rate = 0.05\n'
        f'[setup]\nkind = "python"\nfactory = "own.py:make"\ndatasets = {lines["datasets"]}\n'
    )
    return folder / "run.toml"


def values(folder: RunFolder, origin: str = "merged") -> dict[str, float]:
    with ScoreTable(folder.table) as table:
        return {row.candidate: row.value for row in table.rows(origin=origin, split="validation")}


def created(folder: RunFolder) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.root.glob("*/*/seed3/*.safetensors")}


@pytest.mark.parametrize("order", ["abcd", "dabc", "adbc"])
def test_one_dataset_more_is_one_expert_more(order: str, tmp_path: Path) -> None:
    folder = run(write(tmp_path, "abc"), tmp_path / "out")
    before, models = values(folder), created(folder)
    said: list[tuple[str, int]] = []
    run(write(tmp_path, order), folder.root, lambda done, total, step: said.append((step, total)))
    assert ("experts, steps", 3) in said  # one expert's
    assert ("merged candidates", 8) in said  # 15 - 7
    after = values(folder)
    assert len(after) == 15
    assert {label: after[label] for label in before} == before
    assert {path: created(folder)[path] for path in models} == models
    # What it would have been from the start.
    fresh = run(tmp_path / "run.toml", tmp_path / "fresh")
    assert values(fresh) == pytest.approx(after, abs=1e-12)
    own = ("seconds", "grew")
    found, whole = (each.read_results() for each in (folder, fresh))
    assert {k: v for k, v in found.items() if k not in own} == {
        k: v for k, v in whole.items() if k not in own
    }
    assert found["grew"] == [{"dataset": "d", "version": "1 ['a', 'b', 'c']", "picked": ["b"]}]


def test_it_is_said_what_changed_and_the_run_goes_on_as_ever(tmp_path: Path) -> None:
    folder = run(write(tmp_path, "abc"), tmp_path / "out")
    picked = folder.read_results()["picked"]
    run(write(tmp_path, "abcd", run="validate = 2"), folder.root)
    found = folder.read_results()
    page = write_report(folder.root).read_text()
    still = f"the pick is still {' + '.join(picked)}"
    moved = f"the pick was {' + '.join(picked)}, and is {' + '.join(found['picked_after_trainings'])} now"
    assert "d came later: " + (still if picked == found["picked_after_trainings"] else moved) in page
    # Again, from its own copy too, and twice grown.
    run(tmp_path / "run.toml", folder.root)
    assert folder.read_results()["grew"] == found["grew"]
    assert len(values(folder)) == len(all_subsets("abcd"))


def test_a_run_grows_twice_and_before_it_has_finished(tmp_path: Path) -> None:
    folder = run(write(tmp_path, "ab"), tmp_path / "out")
    run(write(tmp_path, "abc"), folder.root)
    folder.results.unlink()
    run(write(tmp_path, "abcd"), folder.root)
    grew = folder.read_results()["grew"]
    assert [(one["dataset"], one["picked"] is None) for one in grew] == [("c", False), ("d", True)]
    assert "d came later, before there was a pick." in write_report(folder.root).read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": "abcd", "steps": "4"}, "another configuration"),
        ({"names": "ab"}, "another configuration"),
        ({"names": "bacd"}, "another configuration"),
        ({"names": "abcd", "version": "2"}, "its base model or its metrics have changed"),
    ],
)
def test_anything_else_is_refused(change: dict[str, str], said: str, tmp_path: Path) -> None:
    folder = run(write(tmp_path, "abc"), tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")}
    path = write(tmp_path, **change)
    with pytest.raises(RunFolderError, match=said):
        run(path, folder.root)
    assert {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")} == before


@pytest.mark.parametrize(
    ("was", "became", "said"),
    [
        (
            "examples=4)",
            "examples=4)\n    setup.datasets['a'] = setup.datasets['b']",
            "dataset 'a' has changed",
        ),
        ("seed=18", "seed=18 + len(spec['datasets'])", "dataset 'a' has changed"),
        (
            "    return setup",
            "    make_state = setup.base_state\n    def base_state(cache, progress=None):\n"
            "        return {k: v + len(spec['datasets']) - 3 for k, v in make_state(cache).items()}\n"
            "    setup.base_state = base_state\n    return setup",
            "its base model has changed",
        ),
    ],
)
def test_old_parts_must_be_what_they_were(was: str, became: str, said: str, tmp_path: Path) -> None:
    folder = run(write(tmp_path, "abc"), tmp_path / "out")
    path = write(tmp_path, "abcd")
    own = tmp_path / "own.py"
    own.write_text(own.read_text().replace(was, became))
    with pytest.raises(RunFolderError, match=said):
        run(path, folder.root)
    assert "grew" not in json.loads(folder.identity.read_text())


def test_a_mix_does_not_grow(tmp_path: Path) -> None:
    folder = run(write(tmp_path, "abc"), tmp_path / "out")
    with pytest.raises(RunFolderError, match="another configuration"):
        mix(config.load(write(tmp_path, "abcd")), folder.root)
    assert pipeline.run(config.load(write(tmp_path, "abc")), folder.root, workers=1) == folder
