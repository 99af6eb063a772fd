"""Run a registry's ordinary client, and say clearly what it needs when it is not there or refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from m2m.data.package import Package
from m2m.errors import DataError


def run_client(command: Sequence[str], folder: Path, purpose: str) -> str:
    """Run a client to its end, quietly.

    Args:
        command: Program and arguments.
        folder: Where it runs.
        purpose: What it is run for, to complete `cannot ...`, as in `download package tango-icon-theme`.

    Returns:
        What it wrote to standard output.

    Raises:
        DataError: If the program is not installed, or ends with an error; carries its own last words.
    """
    if shutil.which(command[0]) is None:
        raise DataError(f"cannot {purpose}: it needs the program {command[0]!r}, which is not installed here")
    # The C locale keeps messages in one language, whoever runs this.
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DataError(f"cannot {purpose}: {command[0]} ended with {done.returncode}: {_last_words(done)}")
    return done.stdout


def brought(package: Package, folder: Path, purpose: str) -> Path:
    """Find the file that a client was to download.

    Args:
        package: What was asked for.
        folder: Where the client ran.
        purpose: As for `run_client`.

    Returns:
        The file.

    Raises:
        DataError: If it is not there; names what is.
    """
    path = folder / package.file
    if not path.is_file():
        got = sorted(found.name for found in folder.iterdir())
        raise DataError(f"cannot {purpose}: wanted {package.file}, got {got}")
    return path


def check_member(archive: Path, name: str, *, is_plain: bool) -> None:
    """Hold a member of an archive against what may be unpacked.

    Args:
        archive: The archive.
        name: The member's path in it.
        is_plain: Whether it is a file or a folder.

    Raises:
        DataError: If it would land outside the folder that the archive is unpacked into, or is neither.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        raise DataError(f"{archive.name}: member {name!r} would be written outside the cache")
    if not is_plain:
        raise DataError(f"{archive.name}: member {name!r} is a link, pipe or device; data are files")


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "no message"
