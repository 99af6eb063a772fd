"""`[train] command`: the user's own trainer does what m2m's would have done, and its faults are told."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers import pure_trainer
from helpers.commands import is_alive, start, wait_for
from helpers.linear_setup import run_config

from m2m import pipeline
from m2m.checkpoint import Checkpoint
from m2m.errors import CheckpointError, ConfigError, RunFolderError
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder

SCRIPT = Path(pure_trainer.__file__)


def write(place: Path, *options: str, command: list[str] | None = None) -> config.RunConfig:
    said = command or ["{python}", "-S", "trainer.py", *options]
    (place / "trainer.py").write_text(SCRIPT.read_text())
    (place / "run.toml").write_text(run_config("seed = 3").replace("[setup]", f"command = {said}\n[setup]"))
    return config.load(place / "run.toml")


def theta(folder: RunFolder, place: str) -> torch.Tensor:
    return Checkpoint(folder.root / place / "seed3").read("theta")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("ours")
    (place / "run.toml").write_text(run_config("seed = 3"))
    return pipeline.run(config.load(place / "run.toml"), place / "run", workers=1)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("theirs")
    return pipeline.run(write(place), place / "run", workers=1)


def test_a_trainer_that_reads_its_data_in_order_ends_where_ours_does(
    ours: RunFolder, theirs: RunFolder
) -> None:
    assert theirs.read_results()["picked"] == ours.read_results()["picked"]
    models = [path.parent.relative_to(ours.root) for path in ours.root.glob("*/*/seed3")]
    assert len(models) > 3
    for model in models:
        # Three steps of sums of five products of numbers of order one, each rounded in another order.
        torch.testing.assert_close(theta(theirs, str(model)), theta(ours, str(model)), rtol=1e-13, atol=1e-14)


def test_what_was_trained_on_is_told_and_what_was_said_is_kept(theirs: RunFolder) -> None:
    place = theirs.root / "trainings" / "jobs" / "a+b+c" / "seed3"
    job = json.loads((place / "job.json").read_text())
    assert job["shares"] == {name: pytest.approx(1 / 3) for name in "abc"}
    assert (job["seed"], job["steps"], job["examples"]) == (3, 3, 6)
    assert job["recipe"]["learning_rate"] == 0.05
    for name in "abc":
        about = job["datasets"][name]
        assert len(Path(about["path"]).read_text().splitlines()) == about["examples"] == 4
    assert (place / "train.log").read_text() == "training on a+b+c\n"
    assert not Path(job["data"]).exists(), "it can be written again"


def test_a_failed_training_is_named_and_the_others_are_kept(
    theirs: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = r"training b \(seed 3\): `.*trainer.py --fail b` ended with exit code 1; .*train\.log has what"
    failing = write(tmp_path, "--fail", "b")
    with pytest.raises(ConfigError, match=said) as caught:
        pipeline.run(failing, tmp_path / "run", workers=1)
    assert "\n" not in str(caught.value)
    assert "out of luck" in caplog.text
    log = tmp_path / "run" / "trainings" / "jobs" / "a" / "seed3" / "train.log"
    kept = (tmp_path / "run" / "experts" / "a" / "seed3", log)
    before = [path.stat().st_mtime_ns for path in kept]
    (tmp_path / "trainer.py").write_text(SCRIPT.read_text().replace("sys.exit(", "print("))
    folder = pipeline.run(failing, tmp_path / "run", workers=1)
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert "experts/a/seed3 was trained when trainer.py was another file" in caplog.text
    assert folder.read_results()["test"] == theirs.read_results()["test"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (["--leave", "nothing"], ConfigError, r"left no model: wanted model\.safetensors.*seed3/output"),
        (["--leave", "another"], CheckpointError, r"left what is not .*output: lacks tensors of .*'theta'"),
        (["--no-such-option"], ConfigError, r"ended with exit code 2"),
    ],
)
def test_what_a_trainer_leaves_is_looked_at(
    options: list[str], error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said) as caught:
        pipeline.run(write(tmp_path, *options), tmp_path / "run", workers=1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "experts").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["no-such-program", "x"], "there is no program 'no-such-program'"),
        (["./trainer.py"], r"there is no program '\./trainer\.py'"),
        (["{python}", "t.py", "--out={outptu}"], r"`command` has {outptu} \(did you mean 'output'\?\)"),
        ("train.py", r"`command` must be a list of text, got 'train\.py'"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(command: list[str], said: str, tmp_path: Path) -> None:
    text = json.dumps(command)
    (tmp_path / "run.toml").write_text(run_config().replace("[setup]", f"command = {text}\n[setup]"))
    (tmp_path / "trainer.py").touch()
    with pytest.raises(ConfigError, match=said):
        pipeline.run(config.load(tmp_path / "run.toml"), tmp_path / "run", workers=1)


def test_placeholders_are_filled_in_and_other_braces_stay(theirs: RunFolder, tmp_path: Path) -> None:
    seen = "import os, sys; print(sys.argv[1:], os.environ['M2M_SEED'], os.environ['M2M_NAME']); sys.exit(9)"
    asked = ["{python}", "-c", seen, "{seed}", '{"a": 1}', "lr={learning_rate}"]
    with pytest.raises(ConfigError, match="exit code 9"):
        pipeline.run(write(tmp_path, command=asked), tmp_path / "run", workers=1)
    log = tmp_path / "run" / "trainings" / "jobs" / "a" / "seed3" / "train.log"
    assert log.read_text() == "['3', '{\"a\": 1}', 'lr=0.05'] 3 a\n"


def test_another_command_is_another_trainer(theirs: RunFolder) -> None:
    place = theirs.root.parent
    for other in (write(place, "--wait", ""), None):
        if other is None:
            (place / "run.toml").write_text(run_config("seed = 3"))
            other = config.load(place / "run.toml")
        with pytest.raises(RunFolderError, match=r"experts/a/seed3 .*trained by another command"):
            pipeline.run(other, theirs.root, workers=1)
    write(place)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_trainer_ends_with_the_run(how: int, tmp_path: Path) -> None:
    write(tmp_path, "--wait", "number")
    process = start(
        "run", tmp_path / "run.toml", "-q", "--workers", "1", "--out", tmp_path / "run", cwd=tmp_path
    )
    wait_for(lambda: (tmp_path / "number").exists() and bool((tmp_path / "number").read_text()), process)
    number = int((tmp_path / "number").read_text())
    assert is_alive(number)
    os.kill(process.pid, how)
    process.communicate()
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    while is_alive(number):  # a test that hangs says so
        time.sleep(0.02)
