"""What counts as a change of a file, and what does not."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from m2m.checkpoint import Checkpoint, manifest, save, verify
from m2m.checkpoint.identity import Identity, InputFiles, compare, identify, sample
from m2m.errors import CheckpointError

#: More than what file systems count time in.
TICK_S = 0.02
SIZE = 300_000


def restoring_times(file: Path, change: Callable[[Path], object]) -> None:
    before = file.stat()
    time.sleep(TICK_S)
    change(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(bytes(SIZE))
    other.replace(file)


def copy_over(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(os.urandom(SIZE))
    stand = file.stat()
    os.utime(other, ns=(stand.st_atime_ns, stand.st_mtime_ns))
    shutil.copy2(other, file)  # as `cp -p`: over what is there, times included
    other.unlink()


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda file: overwrite(file, 5, b"x"),
    "written, time restored": lambda file: restoring_times(file, lambda file: overwrite(file, 5, b"x")),
    "one byte, time restored": lambda file: restoring_times(file, lambda file: overwrite(file, 9000, b"x")),
    "cp -p": copy_over,
    "replaced": replace,
    "replaced, time restored": lambda file: restoring_times(file, replace),
    "longer": lambda file: overwrite(file, SIZE, b"x"),
    "shorter": lambda file: os.truncate(file, SIZE - 1),
    "removed": Path.unlink,
    "touched": lambda file: os.utime(file, ns=(1, 1)),
    "written and made executable": lambda file: (
        restoring_times(file, lambda file: overwrite(file, 0, b"x")),
        file.chmod(0o755),
    ),
}
HARMLESS: dict[str, Callable[[Path], object]] = {
    "read": Path.read_bytes,
    "linked": lambda file: file.with_name("link").hardlink_to(file),
    "made read-only": lambda file: file.chmod(0o444),
    "nothing": lambda file: None,
    "access time": lambda file: os.utime(file, ns=(1, file.stat().st_mtime_ns)) or file.chmod(0o640),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "input"
    path.write_bytes(bytes(SIZE))
    time.sleep(TICK_S)
    return path


@pytest.mark.parametrize("how", CHANGES)
def test_changes_are_seen(file: Path, how: str) -> None:
    inputs = InputFiles(identify([file]))
    inputs.check_unchanged()
    CHANGES[how](file)
    with pytest.raises(CheckpointError, match=r"input: changed while it was used; start again"):
        inputs.check_unchanged()


@pytest.mark.parametrize("how", HARMLESS)
def test_what_leaves_the_content_alone_is_no_change(file: Path, how: str) -> None:
    inputs = InputFiles(identify([file]))
    HARMLESS[how](file)
    inputs.check_unchanged()


@pytest.mark.parametrize("how", CHANGES)
def test_changes_between_two_processes_are_seen(file: Path, how: str) -> None:
    known = json.loads(json.dumps(InputFiles(identify([file])).to_table()))
    CHANGES[how](file)
    with pytest.raises(CheckpointError, match=r"input: (changed since the merge was begun|cannot be read)"):
        InputFiles(identify([file])).check_against(known)


@pytest.mark.parametrize("how", HARMLESS)
def test_what_leaves_the_content_alone_does_not_hinder_a_second_process(file: Path, how: str) -> None:
    known = json.loads(json.dumps(InputFiles(identify([file])).to_table()))
    HARMLESS[how](file)
    InputFiles(identify([file])).check_against(known)


def test_a_file_that_is_new_to_the_table_has_changed(file: Path) -> None:
    with pytest.raises(CheckpointError, match="input: changed since the merge was begun"):
        InputFiles(identify([file])).check_against({})


def test_links_are_followed(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    inputs = InputFiles(identify([link]))
    other = file.with_name("other")
    other.write_bytes(b"x" * SIZE)
    link.unlink()
    link.symlink_to(other)
    with pytest.raises(CheckpointError, match="link: changed"):
        inputs.check_unchanged()


def test_numbers_of_devices_and_inodes_alone_leave_it_to_the_content(file: Path) -> None:
    before = identify([file])[file]
    assert compare(before, before._replace(device=before.device + 1, inode=7)) == "unsure"
    assert compare(before, before._replace(inode=7, changed_ns=before.changed_ns + 1)) == "changed"
    assert compare(before, before._replace(inode=7, changed_ns=before.changed_ns + 1, links=2)) == "changed"
    known = {str(file.resolve()): [sample(file), *before._replace(device=before.device + 1)]}
    InputFiles(identify([file])).check_against(known)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000])
def test_samples_see_both_ends_and_the_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    seen = {sample(path)}
    for content in {bytes(size + 1), b"x" + bytes(max(0, size - 1)), bytes(max(0, size - 1)) + b"x"}:
        path.write_bytes(content)
        seen.add(sample(path))
    assert len(seen) >= (3 if size <= 1 else 4)


def test_a_whole_header_is_in_the_sample(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    header = bytearray(b" " * 50_000)
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(500_000))
    before = sample(path)
    header[20_011] = ord("x")
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(500_000))
    assert sample(path) != before
    path.write_bytes((1 << 63).to_bytes(8, "little") + bytes(100))  # a header that cannot be
    assert len(sample(path)) == 64


def test_a_state_is_of_one_version_of_the_file(tmp_path: Path) -> None:
    import torch

    folder = save({"a": torch.zeros(100)}, tmp_path / "m")
    checkpoint = Checkpoint(folder)
    assert checkpoint.names == ("a",)
    time.sleep(TICK_S)
    overwrite(folder / "model.safetensors", 300, b"x")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: changed while it was used"):
        checkpoint.state()


def test_a_file_that_changes_while_it_is_verified_is_not_said_to_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    folder = save({"a": torch.zeros(100)}, tmp_path / "m")
    hashed = manifest._hash

    def slow(path: Path, stop: Event) -> manifest._Hashed:
        found = hashed(path, stop)
        time.sleep(TICK_S)
        overwrite(folder / "model.safetensors", 300, b"x")
        return found

    monkeypatch.setattr(manifest, "_hash", slow)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: changed while it was used"):
        verify(folder)


def test_identities_hold_what_the_system_says(file: Path) -> None:
    stand = file.stat()
    assert identify([file])[file] == Identity(
        stand.st_dev, stand.st_ino, SIZE, stand.st_mtime_ns, stand.st_ctime_ns, 1, stand.st_mode,
        stand.st_uid, stand.st_gid,
    )  # fmt: skip
