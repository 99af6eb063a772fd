"""`m2m merge` as a process: killed, without room, with a rival, with inputs that go bad."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.commands import contents, kill_after, run, start, wait_for
from helpers.linear_merges import merge_linear

from m2m.checkpoint import save
from m2m.merging.stream import run as stream_run
from m2m.merging.stream.passes import InterruptedMergeError

METHODS = {
    "linear": "weight: 0.5",
    "ties": "weight: 0.5, density: 0.3",
    "dare_ties": "weight: 0.5, density: 0.4",
    "model_stock": "",
}


def make_models(folder: Path, rows: int) -> None:
    """A base model with a tokenizer and two experts, and a recipe for each method."""
    generator = torch.Generator().manual_seed(3)
    for name in ("base", "a", "b"):
        tensors = {f"t{i}": torch.randn(rows, 512, generator=generator).bfloat16() for i in range(3)}
        save({**tensors, "norm": torch.randn(99, generator=generator)}, folder / name, shard_size="4MB")
    (folder / "base" / "config.json").write_text("{}")
    (folder / "base" / "tokenizer.json").write_text("{" + " " * 600_000 + "}")
    for method, parameters in METHODS.items():
        models = "".join(f"  - {{model: {name}, parameters: {{{parameters}}}}}\n" for name in "ab")
        base = "" if method == "linear" else "base_model: base\n"
        (folder / f"{method}.yml").write_text(
            f"merge_method: {method}\n{base}models:\n{models}dtype: bfloat16\n"
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_models(tmp_path, rows=600)
    return tmp_path


def merge_through_kills(folder: Path, method: str, kills: int, longest: float) -> None:
    """Merge, killed so often at a random moment; where it ends before that, the next moment is earlier."""
    delays = random.Random(method)
    while kills:
        process = start("merge", f"{method}.yml", "out", "--resume", "-q", cwd=folder)
        wait_for((folder / ".out.merging").exists, process)
        if kill_after(process, delays.uniform(0, longest)):
            kills -= 1
        else:
            longest *= 0.7
        # Before the rename nothing is there; after it, everything.
        if (folder / "out").exists():
            assert contents(folder / "out") == contents(folder / "whole")
            shutil.rmtree(folder / "out")
    done = run("merge", f"{method}.yml", "out", "--resume", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr


def check_kills(folder: Path, method: str, kills: int, longest: float) -> None:
    whole = run("merge", f"{method}.yml", "whole", "-q", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    merge_through_kills(folder, method, kills, longest)
    assert contents(folder / "out") == contents(folder / "whole")
    verified = run("verify", "out", "-q", cwd=folder)
    assert verified.returncode == 0, verified.stderr
    assert not (folder / ".out.merging").exists()


def test_a_killed_command_resumes_to_the_same_bytes(folder: Path) -> None:
    check_kills(folder, "ties", kills=2, longest=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_at_many_random_times_it_ends_in_the_same_bytes(tmp_path: Path, method: str) -> None:
    make_models(tmp_path, rows=40_000)
    check_kills(tmp_path, method, kills=8, longest=0.4)


def test_of_two_commands_that_write_one_folder_the_second_is_refused(folder: Path) -> None:
    make_models(folder / "large", rows=12_000)
    first = start("merge", "ties.yml", "../out", "-q", "--threads", "1", cwd=folder / "large")
    wait_for((folder / ".out.merging" / "result").exists, first)
    second = run("merge", "linear.yml", "out", "-q", cwd=folder)
    assert second.returncode == 2
    assert "another merge is writing it" in second.stderr or "exists already" in second.stderr
    assert first.wait() == 0, first.communicate()
    first.communicate()
    assert run("verify", "out", "-q", cwd=folder).returncode == 0


def test_a_limit_on_file_size_is_found_out_before_the_merge(folder: Path) -> None:
    # Python ignores SIGXFSZ, so the system call fails.
    done = run(
        "merge", "ties.yml", "out", "-q", cwd=folder,
        prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)),
    )  # fmt: skip
    assert done.returncode == 2
    assert "model.safetensors: no room for" in done.stderr
    assert "File too large" in done.stderr
    assert not any("out" in path.name for path in folder.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a merge, and little else."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3000k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("not allowed to mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_leaves_nothing_that_looks_complete(folder: Path, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(700_000))  # the weights still fit, but not the tokenizer
    full = run("merge", "ties.yml", small_disk / "out", "-q", cwd=folder)
    assert full.returncode == 2
    assert "tokenizer.json" in full.stderr
    assert "No space left" in full.stderr
    assert "Traceback" not in full.stderr
    assert not (small_disk / "out").exists()

    (small_disk / "other").unlink()
    resumed = run("merge", "ties.yml", small_disk / "out", "-q", "--resume", cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    assert run("verify", small_disk / "out", "-q", cwd=folder).returncode == 0


def test_a_disk_without_room_is_found_out_before_the_merge(folder: Path, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(1_500_000))
    full = run("merge", "ties.yml", small_disk / "out", "-q", cwd=folder)
    assert full.returncode == 2
    assert "no room for" in full.stderr
    assert [path.name for path in small_disk.iterdir()] == ["other"]


@pytest.mark.parametrize("lost", ["a directory", "missing"])
def test_an_input_that_cannot_be_read_any_more_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    original = stream_run.execute
    file = folder / "b" / "model.safetensors"

    def lose_input(*arguments: object, **options: object) -> object:
        file.unlink()
        if lost == "a directory":
            file.mkdir()
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stream_run, "execute", lose_input)
    why = "Is a directory" if lost == "a directory" else "No such file"
    with pytest.raises(InterruptedMergeError, match=rf"b/model\.safetensors: .* cannot be read: {why}"):
        merge_linear([folder / "a", folder / "b"], [[0.5, 0.5]], folder / "out")
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_an_input_that_shrinks_under_a_running_command_is_named(tmp_path: Path) -> None:
    make_models(tmp_path, rows=60_000)
    shard = max((tmp_path / "b").glob("*.safetensors"), key=lambda path: (path.stat().st_size, path.name))
    whole = shard.read_bytes()
    code = 0
    while code == 0:  # the damage must come before the last shard is read
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shard.write_bytes(whole)
        process = start("merge", "dare_ties.yml", "out", "-q", "--threads", "1", cwd=tmp_path)
        wait_for((tmp_path / ".out.merging" / "result").exists, process)
        os.truncate(shard, 1000)
        _, err = process.communicate()
        code = process.returncode
    assert code == 2
    assert "changed while it was used" in err
    assert not any("out" in path.name for path in tmp_path.iterdir())
