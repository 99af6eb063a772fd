"""An object store on this machine's disk, which outlives processes: objects are there whole, and at once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

#: The scheme's name, and the variable that says where its objects lie.
SCHEME, ROOT = "diskstore", "M2M_TEST_STORE"


class DiskStore(LocalFileSystem):  # type: ignore[misc]
    """Objects are files under a folder; each is renamed into place when all of it is there."""

    protocol = SCHEME
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        bare = str(path).removeprefix(f"{SCHEME}://").rstrip("/")
        root = os.environ[ROOT]
        return bare if bare.startswith(root) else f"{root}/{bare}"

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        self._place(rpath, Path(lpath).read_bytes())

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        self._place(path, value)

    def rm_file(self, path: str) -> None:
        os.remove(self._strip_protocol(path))

    def _place(self, path: str, content: bytes) -> None:
        place = Path(self._strip_protocol(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(os.environ[ROOT] + ".unfinished") / place.name
        unfinished.parent.mkdir(exist_ok=True)
        unfinished.write_bytes(content)
        shutil.move(unfinished, place)


def register() -> None:
    """Let URLs of the scheme be opened in this process."""
    fsspec.register_implementation(SCHEME, DiskStore, clobber=True)
