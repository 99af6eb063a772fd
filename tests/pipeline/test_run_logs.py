"""A run told to logs: each thing once, in order, over an interruption; a log that fails ends alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.report_folders import finished, write_curve, write_run, write_scores

from m2m.errors import ConfigError
from m2m.pipeline.logs import Follower, RunLog
from m2m.pipeline.trackers import open_logs
from m2m.support.progress import nobody

CONFIG = '[run]\ntarget = "law"\n[train]\nsteps = 3\n'
LOSSES = [3.0, 2.5, 2.25]


class Heard(RunLog):
    """Writes down what it hears."""

    name = "heard"

    def __init__(self) -> None:
        self.said: list[Any] = []

    def begin(self, folder: Path, config: Mapping[str, Any], run: str | None) -> str | None:
        self.said.append(("begin", config["train.steps"], run))
        return "its own name"

    def losses(self, training: str, steps: Sequence[int], losses: Sequence[float]) -> None:
        self.said.append((training, list(steps), list(losses)))

    def score(self, place: int, row: Mapping[str, Any]) -> None:
        self.said.append((place, row["candidate"], row["origin"]))

    def end(self, results: Mapping[str, Any], files: Sequence[Path]) -> None:
        self.said.append(("end", results["picked"]))

    def close(self) -> None:
        self.said.append("closed")


class Broken(RunLog):
    """Fails when the first score comes."""

    name = "broken"

    def score(self, place: int, row: Mapping[str, Any]) -> None:
        raise ConnectionError("nobody listens")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path, CONFIG)
    write_scores(tmp_path, "ab", merged=2)
    write_curve(tmp_path, "experts", "a", LOSSES)
    return tmp_path


def finish(root: Path) -> list[Path]:
    write_scores(root, "ab", trained=1)
    write_curve(root, "mixtures", "a+b", LOSSES)
    (root / "results.json").write_text(json.dumps(finished("ab", "ab")), encoding="utf-8")
    return [root / "results.json"]


def test_each_thing_is_told_once_over_an_interruption(run: Path) -> None:
    first, second = Heard(), Heard()
    with Follower([first], run, nobody) as told:
        told.look()
        told.look()
    assert first.said == [
        ("begin", 3, None), ("experts/a/seed0", [1, 2, 3], LOSSES),
        (0, "base", "base"), (1, "a", "merged"), (2, "b", "merged"), "closed",
    ]  # fmt: skip
    files = finish(run)
    with Follower([second], run, nobody) as told:
        told.end(files)
    assert second.said == [
        ("begin", 3, "its own name"), ("mixtures/a+b/seed0", [1, 2, 3], LOSSES),
        (3, "a+b", "merged"), (4, "a", "trained"), ("end", ["a", "b"]), "closed",
    ]  # fmt: skip


def test_a_log_that_fails_ends_alone_and_is_told_of(run: Path) -> None:
    heard = Heard()
    with Follower([Broken(), heard], run, nobody) as told:
        told.end(finish(run))
    assert told.notes == ["logging to broken stopped, and the run goes on: nobody listens"]
    assert ("end", ["a", "b"]) in heard.said


def test_progress_looks_now_and_then_once_there_is_a_run(
    run: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m2m.pipeline.logs.EVERY", 0.0)
    heard, told = Heard(), list[tuple[int, int, str]]()
    follower = Follower([heard], run, lambda *step: told.append(step))
    follower(1, 2, "experts")
    assert told == [(1, 2, "experts")]
    assert heard.said[0] == ("begin", 3, None)
    early = Heard()
    Follower([early], tmp_path_factory.mktemp("empty"), nobody)(1, 2, "experts")
    assert early.said == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["tensorbord"], "did you mean 'tensorboard'"),
        (["mlflow", "mlflow"], "names a log twice"),
        (["nowhere.py:Log"], "there is no file"),
        (["json:dumps"], "fails"),
        (["collections:OrderedDict"], "wanted a subclass of m2m.pipeline.logs.RunLog, got OrderedDict"),
    ],
)
def test_mistaken_names(names: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        open_logs(names, tmp_path)


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2m.pipeline.trackers.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="not installed: pip install wandb"):
        open_logs("wandb", tmp_path)


def test_a_log_of_one_s_own(tmp_path: Path) -> None:
    text = "from m2m.pipeline.logs import RunLog\nclass Mine(RunLog):\n    name = 'mine'\n"
    (tmp_path / "mine.py").write_text(text)
    [log] = open_logs(["mine.py:Mine"], tmp_path)
    assert log.name == "mine"


def told_to(name: str, run: Path) -> None:
    with Follower(open_logs([name], run), run, nobody) as told:
        told.look()
    with Follower(open_logs([name], run), run, nobody) as told:
        told.end(finish(run))
    assert told.notes == []


def test_tensorboard(run: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told_to("tensorboard", run)
    found = reading.EventAccumulator(str(run / "logs" / "tensorboard")).Reload()
    losses = found.Scalars("loss/experts/a/seed0")
    assert [(one.step, one.value) for one in losses] == [(1, 3.0), (2, 2.5), (3, 2.25)]
    assert [one.step for one in found.Scalars("score/law/validation/loss/merged")] == [1, 2, 3]
    assert [one.value for one in found.Scalars("test/picked")] == [2.0]


@pytest.mark.filterwarnings("ignore")  # what its libraries tell each other
def test_mlflow(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    place = f"sqlite:///{run / 'mlflow.db'}"
    monkeypatch.chdir(run)  # where its server would be, its artifacts are
    mlflow.set_tracking_uri(place)
    told_to("mlflow", run)
    client = mlflow.tracking.MlflowClient(place)
    [found] = client.search_runs([client.get_experiment_by_name("m2m").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["train.steps"] == "3"
    assert found.data.tags["picked"] == "a + b"
    assert found.data.metrics["test/picked"] == 2.0
    history = client.get_metric_history(found.info.run_id, "loss/mixtures/a-b/seed0")
    assert [one.value for one in history] == LOSSES
    assert [one.path for one in client.list_artifacts(found.info.run_id)] == ["results.json"]


@pytest.mark.filterwarnings("ignore")
def test_wandb(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    told_to("wandb", run)
    records = list(_wandb_records(run))
    assert len({folder.name.rpartition("-")[2] for folder in run.glob("logs/wandb/offline-run-*")}) == 1
    losses = [one["loss/experts/a/seed0"] for one in records if "loss/experts/a/seed0" in one]
    assert losses == LOSSES
    scored = [one["mixture"] for one in records if "scored" in one]
    assert scored == ["base", "a", "b", "a+b", "a"]


def _wandb_records(run: Path) -> Iterator[dict[str, Any]]:
    """Read the rows of history out of the files that offline runs leave for `wandb sync`."""
    from wandb.proto import wandb_internal_pb2

    for path in sorted(
        run.glob("logs/wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns
    ):
        for content in _leveldb_records(path.read_bytes(), start=7):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                yield {(one.key or "/".join(one.nested_key)): json.loads(one.value_json) for one in items}


def _leveldb_records(data: bytes, start: int) -> Iterator[bytes]:
    """Read the records of LevelDB's log format: blocks of 32 KiB, parts with checksum, length and kind."""
    at, whole = start, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:  # the end of a block, where no header fits
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""
