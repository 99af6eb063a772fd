"""Files are hashed by threads, and a file that changes while it is used is found out."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path

import pytest

from m2m.checkpoint import manifest
from m2m.checkpoint.manifest import FileHashes
from m2m.errors import CheckpointError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files, one empty, one of more than a block."""
    contents = [b"", b"abc", bytes(range(256)) * 5000]
    paths = [tmp_path / f"{at}.bin" for at in range(3)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_hashes_are_sha256(files: list[Path]) -> None:
    with FileHashes([*files, files[1]]) as hashes:
        assert [hashes[file] for file in files] == [
            hashlib.sha256(file.read_bytes()).hexdigest() for file in files
        ]
        hashes.check_unchanged()


def test_same_size_and_a_time_set_back_do_not_hide_a_change(files: list[Path]) -> None:
    with FileHashes(files) as hashes:
        before = os.stat(files[1])
        assert hashes[files[1]]
        while os.stat(files[1]).st_ctime_ns == before.st_ctime_ns:  # file systems count time in steps
            with files[1].open("r+b") as file:
                file.write(b"xyz")
        os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns))
        after = os.stat(files[1])
        assert (after.st_size, after.st_mtime_ns, after.st_ino) == (3, before.st_mtime_ns, before.st_ino)
        with pytest.raises(CheckpointError, match=r"1\.bin: changed while it was used"):
            hashes.check_unchanged()


def test_replaced_and_removed_files_are_found_out(files: list[Path]) -> None:
    with FileHashes(files) as hashes:
        assert all(hashes[file] for file in files)
        other = files[0].with_name("other")
        other.write_bytes(b"")
        other.replace(files[0])
        with pytest.raises(CheckpointError, match=r"0\.bin: changed"):
            hashes.check_unchanged()
    with FileHashes(files) as hashes:
        assert hashes[files[2]]
        files[2].unlink()
        with pytest.raises(CheckpointError, match=r"2\.bin: changed"):
            hashes.check_unchanged()


def test_leaving_stops_what_nobody_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = tmp_path / "endless"
    endless.write_bytes(bytes(1000))
    begun = threading.Event()

    class Rewound(io.FileIO):
        """A file that never ends."""

        def readinto(self, block: bytearray) -> int:
            begun.set()
            self.seek(0)
            return super().readinto(block)

    monkeypatch.setattr(manifest.Path, "open", lambda path, *_, **__: Rewound(path))
    before = threading.active_count()
    with FileHashes([endless]):
        begun.wait()
    assert threading.active_count() == before


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with FileHashes([tmp_path / "none"]) as hashes, pytest.raises(FileNotFoundError, match="none"):
        _ = hashes[tmp_path / "none"]
