"""A folder elsewhere that is written to: whole files, each there once all of it has come."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from m2m.checkpoint.remote.address import is_web, open_filesystem
from m2m.checkpoint.remote.remote_file import RemoteFile
from m2m.checkpoint.remote.requests import ShortAnswerError, request
from m2m.errors import RunFolderError

_BLOCK_BYTES = 1 << 23


class Destination:
    """A folder elsewhere. Object stores show a file when the last of its bytes is there, and not before.

    Attributes:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        """Open the file system of an address.

        Args:
            url: The folder.

        Raises:
            RunFolderError: If it takes no files.
            CheckpointError: If no file system reaches it.
        """  # noqa: DOC502 - partly raised by what is called
        if is_web(url):
            raise RunFolderError(f"{url}: a web server takes no files; wanted s3://, gs:// or another store")
        self.url = url
        self._filesystem, self._path = open_filesystem(url)

    def names(self) -> dict[str, int]:
        """List what is there: bytes by name.

        Returns:
            All files below it.
        """

        def ask() -> Mapping[str, Any]:
            self._filesystem.invalidate_cache(self._path)
            try:
                listed: Mapping[str, Any] = self._filesystem.find(self._path, detail=True)
            except FileNotFoundError:
                return {}
            return listed

        below = self._path.rstrip("/")
        found = request(ask, self.url).items()
        return {name.removeprefix(below).lstrip("/"): info["size"] for name, info in found}

    def read(self, name: str) -> bytes | None:
        """Read a small file; None where there is none."""

        def ask() -> bytes:
            self._filesystem.invalidate_cache(self._path)
            content: bytes = self._filesystem.cat_file(self._place(name))
            return content

        try:
            return request(ask, self._url(name))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, in place of what is there."""
        try:
            request(lambda: self._filesystem.pipe_file(self._place(name), content), self._url(name))
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such bucket", self.url) from error

    def put(self, file: Path, name: str) -> None:
        """Send a file, and see that all of it has come."""
        wanted = file.stat().st_size

        def send() -> None:
            self._filesystem.put_file(str(file), self._place(name))
            self._filesystem.invalidate_cache(self._path)
            got = self._filesystem.info(self._place(name))["size"]
            if got != wanted:
                raise ShortAnswerError(errno.EIO, f"{got} bytes are there of {wanted} that were sent")

        request(send, self._url(name))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, as far as they are there."""
        for name in names:
            try:
                request(lambda name=name: self._filesystem.rm_file(self._place(name)), self._url(name))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def hash(self, name: str) -> str:
        """SHA-256 of a file that is there, as hex digits."""
        file = RemoteFile(self._url(name), self._filesystem, self._place(name))
        digest = hashlib.sha256()
        for begin in range(0, file.size, _BLOCK_BYTES):
            digest.update(file.read(begin, min(_BLOCK_BYTES, file.size - begin)))
        return digest.hexdigest()

    def _place(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _url(self, name: str) -> str:
        return f"{self.url}/{name}"
