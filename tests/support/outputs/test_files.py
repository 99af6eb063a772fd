"""Files are replaced in one step: whole or as before, whatever fails; links and permissions stay."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small_files import small_files

from m2m.support.files import replacing, write_atomically

#: Bytes that a file may have.
ROOM = 4096


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in ("old", b"new", "ümlaut"):
        write_atomically(path, content)
        assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.listdir(tmp_path) == ["x"]


def test_a_full_disk_leaves_the_old_and_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, "old")
    with small_files(ROOM), pytest.raises(OSError, match=str(path)) as caught:
        write_atomically(path, "x" * 2 * ROOM)
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_whatever_stops_the_writer_leaves_the_old(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x"
    write_atomically(path, "old")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_text() == "old"


def test_permissions_stay_and_new_files_take_the_users(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        write_atomically(old, "x")
        write_atomically(new, "x")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (old, new)] == [0o640, 0o640]
    old.chmod(0o604)
    write_atomically(old, "y")
    assert old.stat().st_mode & 0o777 == 0o604


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(Path("there") / "file")
    for content in ("made", "replaced"):  # a link to nothing yet is followed as well
        write_atomically(link, content)
        assert link.is_symlink()
        assert target.read_text() == content
    assert os.listdir(target.parent) == ["file"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127 + "x")  # 255 bytes
    write_atomically(path, "x")
    assert os.listdir(tmp_path) == [path.name]


def test_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with replacing(path) as first, replacing(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["x"]


KILLED = """
import os, sys
from m2m.support.files import replacing

with replacing(sys.argv[1]) as file:
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    assert path.read_text() == "old"
    (tmp_path / ".x.mine.new").touch()
    with replacing(path) as living:
        living.write(b"mine")
        write_atomically(path, "new")
        assert len(os.listdir(tmp_path)) == 3
    assert sorted(os.listdir(tmp_path)) == [".x.mine.new", "x"]
    assert path.read_text() == "mine"
