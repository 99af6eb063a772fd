"""Debian packages, fetched with apt-get and unpacked with dpkg-deb: no root, and nothing installed."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from m2m.data.client import brought, run_client
from m2m.data.package import Package
from m2m.errors import DataError


def download(package: Package, folder: Path) -> Path:
    """Download a .deb from the archives this system is set up for.

    The system's package lists are used if they name the version. Where they do not (none were ever fetched,
    or they are old), lists of our own are fetched, once a process; that needs no root either.

    Args:
        package: The package.
        folder: An empty folder.

    Returns:
        The file, inside `folder`.

    Raises:
        DataError: If apt-get is missing, cannot reach an archive, or no archive carries the version.
    """
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
                f"{error}. One of this system's apt sources must carry exactly this version ({package.file}, "
                f"SHA-256 {package.sha256}); add the Debian release that does"
            ) from None
    return brought(package, folder, purpose)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .deb's files.

    Args:
        archive: A .deb whose hash was checked.
        folder: An empty folder.
    """
    run_client(["dpkg-deb", "--extract", str(archive.resolve()), "."], folder, f"unpack {archive.name}")


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
