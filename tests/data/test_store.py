"""Fetching through the real pip, offline: it finds the wheel in a local folder instead of a registry."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from m2m.data import Package, cache_dir, fetch, location
from m2m.errors import DataError

FILE = "tiny_texts-1.0-py3-none-any.whl"
INFO = "tiny_texts-1.0.dist-info"


def write_wheel(folder: Path, extra: dict[str, str] | None = None) -> Path:
    members = {
        "tiny_texts/a.txt": "hello\n",
        f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: tiny-texts\nVersion: 1.0\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{INFO}/RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / FILE, "w") as wheel:
        for name, text in {**members, **(extra or {})}.items():
            wheel.writestr(name, text)
    return folder / FILE


def pinned(wheel: Path, **changes) -> Package:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    values = {
        "name": "tiny-texts",
        "version": "1.0",
        "sha256": digest,
        "size": wheel.stat().st_size,
    } | changes
    return Package(registry="pypi", file=FILE, licence="MIT", **values)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    path = write_wheel(tmp_path / "registry")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return path


def left_in(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if path.is_file() or path.name.startswith(".")]


def test_a_package_is_fetched_once_and_then_offline(wheel, tmp_path):
    package, cache, told = pinned(wheel), tmp_path / "cache", []
    folder = fetch(package, cache, lambda done, total, what: told.append((done, total, what)))
    assert (folder / "tiny_texts" / "a.txt").read_text() == "hello\n"
    assert folder == location(package, cache)
    assert told == [
        (0, package.size, "fetching tiny-texts"),
        (package.size, package.size, "fetching tiny-texts"),
    ]
    wheel.unlink()
    assert fetch(package, cache, lambda *_: pytest.fail("nothing is to be downloaded")) == folder


def test_the_wrong_file_is_refused_with_both_hashes_and_nothing_is_kept(wheel, tmp_path):
    package = pinned(wheel, sha256="0" * 64)
    with pytest.raises(DataError, match=r"got SHA-256 [0-9a-f]{64}, wanted 0{64}"):
        fetch(package, tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize(
    "member", ["../escaped.txt", "/escaped.txt", "a/../../escaped.txt", "C:/escaped.txt"]
)
def test_a_member_outside_the_folder_is_refused(wheel, tmp_path, member):
    write_wheel(wheel.parent, {member: "bad"})
    with pytest.raises(DataError, match="would be written outside the cache"):
        fetch(pinned(wheel), tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_link_is_refused(wheel, tmp_path):
    with zipfile.ZipFile(wheel, "a") as archive:
        link = zipfile.ZipInfo("tiny_texts/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="'tiny_texts/link' is a link"):
        fetch(pinned(wheel), tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []


def test_a_version_that_is_not_there_says_so_in_pips_words(wheel, tmp_path):
    with pytest.raises(DataError, match=r"cannot download tiny-texts==9\.0: .*No matching distribution"):
        fetch(pinned(wheel, version="9.0"), tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []


def test_another_file_name_is_refused(wheel, tmp_path):
    package = Package("tiny-texts", "1.0", "pypi", "tiny_texts-1.0-py2-none-any.whl", "0" * 64, "MIT", 1)
    with pytest.raises(DataError, match=r"wanted tiny_texts-1.0-py2.*, got .*tiny_texts-1.0-py3"):
        fetch(package, tmp_path / "cache")


def test_an_interpreter_without_pip_is_named(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr("m2m.data.registries.find_spec", lambda name: None)
    with pytest.raises(DataError, match="has no pip"):
        fetch(pinned(wheel), tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(wheel, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(DataError, match="cannot put tiny-texts into the cache"):
        fetch(pinned(wheel), tmp_path / "cache")


def test_the_cache_folder_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("M2M_CACHE", raising=False)
    assert cache_dir() == tmp_path / "m2m"
    monkeypatch.setenv("M2M_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
