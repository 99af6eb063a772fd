"""Archives that are damaged, encrypted, or hold what is no file of data: one line that names the archive."""

from __future__ import annotations

import io
import os
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from m2m.data import store
from m2m.data.registries import npm, pypi
from m2m.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def wheel(tmp_path: Path, mode: int = stat.S_IFREG | 0o644, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = tmp_path / "pears.whl"
    with zipfile.ZipFile(path, "w", compression) as archive:
        member = zipfile.ZipInfo("pears/one.txt")
        member.external_attr = mode << 16
        member.compress_type = compression
        archive.writestr(member, b"a pear, " * 50)
    return path


def tarball(tmp_path: Path, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> Path:
    path = tmp_path / "pears.tgz"
    member = tarfile.TarInfo("package/one")
    member.type, member.mode, member.linkname = kind, mode, "/etc/passwd"
    content = b"a pear, " * 50 if kind == tarfile.REGTYPE else b""
    member.size = len(content)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(content))
    return path


def refused(unpack: object, archive: Path, folder: Path) -> str:
    with pytest.raises(DataError) as raised:
        unpack(archive, folder)  # type: ignore[operator]
    said = str(raised.value)
    assert archive.name in said
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_wheel_holds_files_only(kind: int, tmp_path: Path, folder: Path) -> None:
    assert "is a link, pipe or device" in refused(pypi.unpack, wheel(tmp_path, kind | 0o644), folder)
    assert not any(folder.iterdir())


def test_an_encrypted_wheel(tmp_path: Path, folder: Path) -> None:
    path = wheel(tmp_path, compression=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(content)
    assert "encrypted" in refused(pypi.unpack, path, folder)


@pytest.mark.parametrize(
    "kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]
)
def test_a_tarball_holds_no_pipe_device_or_way_out(kind: bytes, tmp_path: Path, folder: Path) -> None:
    refused(npm.unpack, tarball(tmp_path, kind), folder)
    assert not [path for path in folder.rglob("*") if not path.is_dir()]


def test_no_file_of_data_is_a_program_of_somebody_else(tmp_path: Path, folder: Path) -> None:
    npm.unpack(tarball(tmp_path, mode=0o6755), folder)
    assert not (folder / "package/one").stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


def test_what_another_program_unpacked_is_looked_through(tmp_path: Path, folder: Path) -> None:
    (folder / "program").touch()
    (folder / "program").chmod(0o6755)
    store._check_unpacked(tmp_path / "pears.deb", folder)
    assert stat.S_IMODE((folder / "program").stat().st_mode) == 0o755
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match=r"pears.deb: pipe is a pipe, socket or device"):
        store._check_unpacked(tmp_path / "pears.deb", folder)


@pytest.mark.parametrize("make", [wheel, tarball])
def test_flipped_and_lost_bytes_are_the_archives_fault(make: object, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    whole, draw = path.read_bytes(), random.Random(1)
    unpack = pypi.unpack if path.suffix == ".whl" else npm.unpack
    failed = 0
    for number in range(200):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 4])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice([len(content)] * 3 + [draw.randrange(len(content))])])
        out = tmp_path / f"out{number}"
        out.mkdir()
        try:
            unpack(path, out)
        except DataError:
            failed += 1
    assert failed > 100
