"""A run is of one thing: data that changed, models that are not its own, flipped bits are found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.linear_setup import run_config

from analysis.fidelity import of_run
from analysis.trained_run import open_run
from m2m import mixing, pipeline
from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError, DataError, M2MError, RunFolderError
from m2m.pipeline import config, worker
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable

#: A user's set-up whose data change without a word in its configuration.
FACTORY = """
import json
from pathlib import Path
from helpers.linear_setup import linear_setup

def make(spec):
    setup, change = linear_setup(seed=11, examples=4), json.loads(Path({place!r}).read_text())
    for name in change.get("datasets", ()):
        setup.datasets[name].tensors[0][0, 0] += 1e-9
    for name in change.get("targets", ()):
        setup.targets[name].test.tensors[1][-1] += 1e-9
    setup.version = change.get("version", setup.version)
    return setup
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in `run`, its configuration, and `data.json`, which says how the data have changed."""
    root = tmp_path_factory.mktemp("start")
    (root / "data.json").write_text("{}")
    text = run_config("validate = true\ntruth_seeds = 1\nseed = 3")
    (root / "run.toml").write_text(
        text.replace(text.split('factory = "')[1].split('"')[0], "factory.py:make")
    )
    return root


@pytest.fixture
def place(start: Path, tmp_path: Path) -> Path:
    """The same in a place of the test's own."""
    if not (start / "run").exists():
        (start / "factory.py").write_text(FACTORY.format(place=str(start / "data.json")))
        run(start)
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    (tmp_path / "factory.py").write_text(FACTORY.format(place=str(tmp_path / "data.json")))
    identity = tmp_path / "run" / "run.json"
    identity.write_text(identity.read_text().replace(str(start), str(tmp_path)))
    return tmp_path


def run(place: Path) -> RunFolder:
    return pipeline.run(config.load(place / "run.toml"), place / "run", workers=1)


def change(place: Path, **what: Any) -> None:
    (place / "data.json").write_text(json.dumps(what))


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def expert(place: Path, name: str) -> Path:
    return place / "run" / "experts" / name / "seed3"


def merged(place: Path, **equal: Any) -> dict[str, float]:
    with ScoreTable(place / "run" / "scores.sqlite") as table:
        rows = table.rows(split="validation", **{"origin": "merged", **equal})
    assert len({row.candidate for row in rows}) == len(rows)
    return {row.candidate: row.value for row in rows}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"datasets": ["b"]}, "dataset 'b' has changed"),
        ({"datasets": ["a", "c"]}, "dataset 'a' has changed, dataset 'c' has changed"),
        ({"datasets": ["b"], "version": "linear-2"}, "dataset 'b' has changed since"),
        ({"targets": ["target"]}, "target 'target' has changed"),
        ({"version": "linear-2"}, "its base model or its metrics have changed"),
    ],
)
@pytest.mark.parametrize("lost", [None, "experts/b"])
def test_data_that_changed_are_named_and_nothing_is_touched(
    place: Path, what: dict[str, Any], said: str, lost: str | None
) -> None:
    if lost is not None:
        shutil.rmtree(place / "run" / lost)
    change(place, **what)
    before = content(place / "run")
    for verb in (run, lambda place: mixing.mix(config.load(place / "run.toml"), place / "run", workers=1)):
        with pytest.raises(RunFolderError, match=said):
            verb(place)
    assert content(place / "run") == before


def test_studies_of_a_run_look_at_its_data_too(place: Path) -> None:
    open_run(place / "run")
    change(place, datasets=["b"])
    with pytest.raises(RunFolderError, match="dataset 'b' has changed"):
        open_run(place / "run")


def test_data_that_came_back_are_what_they_were(place: Path) -> None:
    change(place, datasets=["b"])
    with pytest.raises(RunFolderError):
        run(place)
    change(place)
    run(place)


@pytest.mark.parametrize("damaged", ["base", "experts/a/seed3", "mixtures/a+c/seed3"])
def test_a_flipped_bit_is_found_before_it_is_scored(place: Path, damaged: str) -> None:
    file = place / "run" / damaged / "model.safetensors"
    (place / "run" / "scores.sqlite").unlink()
    flip(file)
    with pytest.raises(CheckpointError) as caught:
        run(place)
    assert str(file) in str(caught.value)
    assert "SHA-256" in str(caught.value)
    shutil.rmtree(file.parent)
    run(place)  # making it anew is what the message proposes


def test_a_flipped_bit_is_found_by_studies(place: Path) -> None:
    flip(expert(place, "c") / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"experts/c/seed3/model\.safetensors"):
        open_run(place / "run")


@pytest.mark.parametrize(
    ("source", "target"),
    [("experts/b", "experts/a"), ("mixtures/a+b", "mixtures/a+c"), ("base", "experts/a")],
)
def test_a_model_of_another_place_is_not_taken(place: Path, source: str, target: str) -> None:
    theirs, ours = (next((place / "run" / each).glob("**/manifest.json")).parent for each in (source, target))
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    before = content(ours)
    with pytest.raises(
        RunFolderError,
        match=f"{ours.parent.name}/seed3 holds a model that was trained on".replace("+", "[+]"),
    ):
        run(place)
    assert content(ours) == before


def test_a_checkpoint_that_says_nothing_is_not_taken(place: Path) -> None:
    state, folder = Checkpoint(expert(place, "b")).state(), expert(place, "a")
    shutil.rmtree(folder)
    save(state, folder, {"mixture": "a", "seed": "3"})
    with pytest.raises(RunFolderError, match="does not say what it was made from"):
        run(place)


@pytest.mark.parametrize("part", ["mixture", "seed", "recipe", "base", "data", "revision"])
def test_every_part_of_where_a_model_comes_from_counts(place: Path, part: str) -> None:
    file = expert(place, "a") / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["made_from"][part] = {"a": "other"}
    file.write_text(json.dumps(manifest))
    with pytest.raises(
        RunFolderError, match=r"experts/a/seed3 holds a model that was trained (on|with|by|from)"
    ):
        run(place)


def forget(place: Path) -> None:
    """Make the run one of an earlier m2m, which noted less."""
    run_root = place / "run"
    identity = json.loads((run_root / "run.json").read_text())
    (run_root / "run.json").write_text(json.dumps({key: identity[key] for key in ("identity", "root")}))
    for file in run_root.rglob("manifest.json"):
        manifest = json.loads(file.read_text())
        del manifest["made_from"]
        file.write_text(json.dumps(manifest))


def test_a_run_of_an_earlier_m2m_goes_on_and_says_so_once(place: Path) -> None:
    forget(place)
    before = merged(place)
    assert "earlier m2m" in run(place).notes[0]
    assert run(place).notes == ()
    assert merged(place) == before
    change(place, datasets=["b"])
    with pytest.raises(RunFolderError, match="dataset 'b'"):
        run(place)


def test_a_run_of_an_earlier_m2m_has_the_version_of_its_scores(place: Path) -> None:
    forget(place)
    change(place, version="linear-2")
    with pytest.raises(RunFolderError, match="its data or its base model have changed"):
        run(place)


def test_a_run_of_an_earlier_m2m_has_its_own_models(place: Path) -> None:
    forget(place)
    shutil.rmtree(expert(place, "a"))
    shutil.copytree(expert(place, "b"), expert(place, "a"))
    with pytest.raises(RunFolderError, match="does not say"):
        run(place)


def test_results_that_an_earlier_m2m_laid_out_otherwise_are_written_anew(place: Path) -> None:
    folder = RunFolder(place / "run")
    now = folder.read_results()
    folder.write_results(now | {"fidelity": {"target": {"pearson": {"value": 0.5}}}})
    with pytest.raises(RunFolderError, match="writes it anew"):
        folder.read_results()
    again = run(place).read_results()
    assert again["picked"] == now["picked"]
    assert again["test"] == now["test"]


def test_scores_of_a_model_that_was_replaced_are_set_aside_and_come_back(place: Path) -> None:
    kept, before = place / "kept", merged(place)
    shutil.copytree(expert(place, "a"), kept)
    _nudge(expert(place, "a"))
    run(place)
    after = merged(place)
    with_a = {"a", "a+b", "a+c", "a+b+c"}  # a merged model is what its members make it
    assert {name for name in before if before[name] != after[name]} == with_a
    assert merged(place, origin="replaced merged") == {name: before[name] for name in with_a}
    of_run(place / "run")  # a score twice would be an error
    shutil.rmtree(expert(place, "a"))
    shutil.copytree(kept, expert(place, "a"))
    run(place)
    assert merged(place) == before
    assert merged(place, origin="replaced merged") == {name: after[name] for name in with_a}


def _nudge(folder: Path) -> None:
    # As a training on another machine would.
    state, manifest = Checkpoint(folder).state(), json.loads((folder / "manifest.json").read_text())
    state["theta"] = state["theta"] + 1e-9
    shutil.rmtree(folder)
    save(state, folder, {"mixture": "a", "seed": "3"}, facts={"made_from": manifest["made_from"]})


def test_a_worker_that_finds_other_data_says_so(place: Path) -> None:
    loaded, folder = config.load(place / "run.toml"), RunFolder(place / "run")
    arguments = (loaded.setup, loaded.root, place, folder.base, folder.contents)
    worker.prepare(*arguments)
    change(place, datasets=["c"])
    with pytest.raises(DataError, match="dataset 'c' has changed while the run was going on"):
        worker.prepare(*arguments)


def test_every_refusal_is_one_line(place: Path) -> None:
    change(place, datasets=["b"])
    with pytest.raises(M2MError) as caught:
        run(place)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
