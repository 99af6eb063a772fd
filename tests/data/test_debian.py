import hashlib
import shutil
import subprocess
from dataclasses import replace

import pytest

from m2m.data import find
from m2m.data.registries import debian
from m2m.errors import DataError

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt-get is not installed")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@needs_dpkg
def test_unpacks_what_was_packed(tmp_path, folder):
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
