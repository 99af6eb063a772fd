"""Addresses of what lies elsewhere, as in `s3://bucket/folder`, and the file systems that reach it."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from m2m.errors import CheckpointError
from m2m.support.extras import installing

#: `pathlib` makes one slash of two.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(.+)", re.DOTALL)
#: Schemes of this machine's own files.
_LOCAL = ("file", "local")
#: Schemes of the web, where nothing can be listed or written.
_WEB = ("http", "https")
#: What to install for the schemes that people use most.
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub",
    "http": "aiohttp", "https": "aiohttp", "az": "adlfs", "abfs": "adlfs",
}  # fmt: skip


def remote_url(path: str | Path) -> str | None:
    """Read a path as a URL.

    Args:
        path: What the user wrote; a `Path` of a URL has lost a slash, which is put back.

    Returns:
        The URL without a slash at its end; None of a local path.

    Raises:
        CheckpointError: If it is a URL of this machine's own files, or has nothing behind its scheme.
    """
    text = str(path)
    found = _ADDRESS.fullmatch(text)
    if found is None or os.path.exists(text):
        return None
    scheme, rest = found[1].lower(), found[2].rstrip("/")
    if scheme in _LOCAL:
        raise CheckpointError(f"{text}: is a local path: write it without {scheme}://")
    return f"{scheme}://{rest}"


def is_web(url: str) -> bool:
    """Whether a URL is of a server that lists nothing and takes nothing."""
    return url.partition("://")[0] in _WEB


def last_part(url: str) -> str:
    """Name of what a URL leads to, without what a server may be asked beside it."""
    path = url.partition("?")[0] if is_web(url) else url
    return path.rsplit("/", 1)[-1]


def with_revision(url: str, revision: str | None) -> str:
    """Write a revision into a URL, where the hub has them: `hf://org/name@revision/folder`."""
    if revision is None:
        return url
    if not url.startswith("hf://"):
        raise CheckpointError(f"{url}: has no revision {revision!r}: only hf:// has revisions")
    organisation, name, *rest = url.removeprefix("hf://").split("/")
    if "@" in name:
        raise CheckpointError(f"{url}: names a revision itself, beside the revision {revision!r}")
    return "hf://" + "/".join([organisation, f"{name}@{revision.replace('/', '%2F')}", *rest])


def open_filesystem(url: str) -> tuple[Any, str]:
    """Open the file system of a URL.

    Args:
        url: What `remote_url` gave.

    Returns:
        The fsspec file system, and the path that stands for the URL there.

    Raises:
        CheckpointError: If the package of the scheme is missing, or nothing is known under its name.
    """
    scheme = url.partition("://")[0]
    try:
        fsspec = import_module("fsspec")
    except ImportError as error:
        raise CheckpointError(
            f"{url}: to reach it fsspec is needed: {installing('remote')}{_and_package(scheme)}"
        ) from error
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        wanted = f"pip install {package}" if package else " ".join(str(error).split())
        raise CheckpointError(f"{url}: the package of {scheme}:// is missing: {wanted}") from error
    except Exception as error:  # also whatever a package raises of what is configured wrongly
        if "Protocol not known" in str(error):
            known = "wanted s3, gs, hf, https, or another scheme of fsspec's"
            raise CheckpointError(f"{url}: nothing is known of {scheme}://; {known}") from error
        raise CheckpointError(f"{url}: cannot be reached: {' '.join(str(error).split())}") from error
    return filesystem, path


def _and_package(scheme: str) -> str:
    package = _PACKAGES.get(scheme)
    return f" {package}" if package else ""
