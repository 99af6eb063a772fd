"""A merge killed at any moment and resumed ends in the same bytes; until then nothing looks complete."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.linear_merges import merge_linear

from m2m.checkpoint import Checkpoint, save, verify
from m2m.errors import CheckpointError, RunFolderError
from m2m.merging import MergeReport
from m2m.merging.stream import run as stream_run
from m2m.merging.stream.work_folder import WorkFolder

WEIGHTS = [[0.25, 0.75], [1.5, -0.5]]
NAMES = ["x", "y"]

#: Merges the same with the smallest buffers, a journal entry a millisecond, and kills itself half-way.
CHILD = """
import os, signal, sys
from m2m.merging import merge
from m2m.merging.stream import memory, passes

passes._POLL_SECONDS, passes._NOTES_EVERY, memory.SLOT_BYTES = 0.001, 1, 4096
folder, deadline = sys.argv[1], float(sys.argv[2])

def progress(done, total, what):
    if done >= deadline * total:
        os.kill(os.getpid(), signal.SIGKILL)

models = [{"model": folder + name, "parameters": {"weight": 0.25}} for name in ("/m0", "/m1")]
models[1]["parameters"]["weight"] = 0.75
recipe = {"merge_method": "linear", "models": models, "parameters": {"normalize": False}}
candidates = {"x": [0.25, 0.75], "y": [1.5, -0.5]}
options = {"resume": True, "threads": 2, "progress": progress, "shard_size": "3MB"}
report = merge(recipe, folder + "/out", candidates=candidates, **options)
print(report.resumed_bytes)
"""


def make_inputs(folder: Path, elements: int = 1_500_000) -> list[Path]:
    generator = torch.Generator().manual_seed(3)
    return [
        save(
            {
                "a": torch.randn(elements, generator=generator).bfloat16(),
                "b": torch.randn(1234),
                "c": torch.arange(9),
            },
            folder / f"m{i}",
            shard_size="1MB",
        )
        for i in range(2)
    ]


def run(inputs: list[Path], out: Path, **options: object) -> MergeReport:
    return merge_linear(
        inputs,
        WEIGHTS,
        out,
        names=NAMES,
        shard_size="3MB",
        **options,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_killed_and_resumed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    run(inputs, tmp_path / "whole")
    kills = sorted(random.Random(5).uniform(0.05, 0.95) for _ in range(4))
    resumed = "0"
    for deadline in [*kills, 2.0]:
        assert not (tmp_path / "out").exists()
        arguments = [sys.executable, "-c", CHILD, str(tmp_path), str(deadline)]
        child = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert child.returncode == (0 if deadline == 2.0 else -signal.SIGKILL), child.stderr
        resumed = child.stdout.strip()
    assert int(resumed) > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert verify(tmp_path / "out").folders == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m0", "m1", "out", "whole"]


def stop_half_way(inputs: list[Path], out: Path, patch: pytest.MonkeyPatch) -> None:
    from m2m.merging.stream import memory, passes

    class StopError(Exception):
        pass

    def progress(done: int, total: int, what: str) -> None:
        if done > total / 3:
            raise StopError

    with patch.context() as inner:
        inner.setattr(passes, "_POLL_SECONDS", 0.001)
        inner.setattr(passes, "_NOTES_EVERY", 1)
        inner.setattr(memory, "SLOT_BYTES", 4096)
        with pytest.raises(StopError):
            run(inputs, out, progress=progress, threads=1)


def test_what_lies_after_the_journal_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    run(inputs, tmp_path / "whole")
    stop_half_way(inputs, tmp_path / "out", monkeypatch)
    root = tmp_path / ".out.merging"
    # A third was written at least, however late the stop came: a quarter of the first tensor is behind that.
    journal = json.loads((root / "journal.json").read_bytes()) | {"tensor": 0, "element": 375_000}
    (root / "journal.json").write_text(json.dumps(journal))
    for path in (root / "result").rglob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1000:] = bytes(1000)
        path.write_bytes(content)
    assert run(inputs, tmp_path / "out", resume=True).resumed_bytes > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_without_resume_a_merge_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(tmp_path)
    stop_half_way(inputs, tmp_path / "out", monkeypatch)
    assert run(inputs, tmp_path / "out").resumed_bytes == 0


def test_another_merge_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(tmp_path)
    stop_half_way(inputs, tmp_path / "out", monkeypatch)
    with pytest.raises(RunFolderError, match="another recipe, other inputs"):
        run(inputs[::-1], tmp_path / "out", resume=True)
    os.utime(Checkpoint(inputs[0]).files[0], ns=(1, 1))
    with pytest.raises(CheckpointError, match=r"m0/.*changed since the merge was begun; run without resume"):
        run(inputs, tmp_path / "out", resume=True)


@pytest.mark.parametrize("size", [None, 1000])
def test_what_was_written_and_is_gone_is_not_taken_for_zeros(
    size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    stop_half_way(inputs, tmp_path / "out", monkeypatch)
    written = next((tmp_path / ".out.merging" / "result").rglob("*.safetensors"))
    written.unlink() if size is None else os.truncate(written, size)
    with pytest.raises(
        RunFolderError, match=rf"{written.name}: has {size or 0} bytes, wanted the .* begun with"
    ):
        run(inputs, tmp_path / "out", resume=True)
    assert run(inputs, tmp_path / "out").resumed_bytes == 0


@pytest.mark.parametrize(("tensor", "said"), [(10**9, "is damaged"), (-1, "is damaged"), ("x", None)])
def test_a_damaged_journal_is_said_or_not_believed(
    tensor: object, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    stop_half_way(inputs, tmp_path / "out", monkeypatch)
    journal = tmp_path / ".out.merging" / "journal.json"
    journal.write_text(json.dumps(json.loads(journal.read_bytes()) | {"tensor": tensor}))
    if said is None:
        assert run(inputs, tmp_path / "out", resume=True).resumed_bytes == 0
    else:
        with pytest.raises(RunFolderError, match=said):
            run(inputs, tmp_path / "out", resume=True)


def test_after_a_power_cut_a_merge_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(tmp_path)
    stop_half_way(inputs, tmp_path / "out", monkeypatch)
    journal = tmp_path / ".out.merging" / "journal.json"
    journal.write_text(json.dumps(json.loads(journal.read_bytes()) | {"boot": "an earlier one"}))
    assert run(inputs, tmp_path / "out", resume=True).resumed_bytes == 0
    assert Checkpoint(tmp_path / "out" / "x").read("b").shape == (1234,)


def test_killed_between_rename_and_clean_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "discard", lambda self: None)
        first = run(inputs, tmp_path / "out")
    before = contents(tmp_path / "out")
    again = run(inputs, tmp_path / "out", resume=True)
    assert (again.written_bytes, again.resumed_bytes) == (0, first.written_bytes)
    assert contents(tmp_path / "out") == before
    assert not (tmp_path / ".out.merging").exists()
    with pytest.raises(RunFolderError, match="exists already"):
        run(inputs[::-1], tmp_path / "out", resume=True)
    with pytest.raises(RunFolderError, match="exists already"):
        run(inputs, tmp_path / "out")


def test_killed_before_the_rename_nothing_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    run(inputs, tmp_path / "whole")

    def killed(folder: Path, *arguments: object, **facts: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stream_run, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            run(inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = run(inputs, tmp_path / "out", resume=True)
    assert report.written_bytes == 0
    assert report.resumed_bytes > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
