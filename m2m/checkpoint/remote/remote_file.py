"""One file that lies elsewhere: its size, what tells that it changed, and its bytes by range."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from typing import Any

from m2m.checkpoint.remote.address import is_web
from m2m.checkpoint.remote.requests import ShortAnswerError, request
from m2m.errors import CheckpointError

#: What file systems call that which changes with a file's content.
_TAGS = (
    "ETag", "etag", "generation", "version_id", "VersionId", "md5Hash", "Content-MD5", "content_md5",
    "Digest", "checksum", "blob_id", "oid", "lfs",
    "LastModified", "last_modified", "Last-Modified", "mtime", "updated", "modified", "created",
)  # fmt: skip
#: What a server answers that gives a part of a file.
_PARTIAL = 206


class RemoteFile:
    """A file that lies elsewhere, as it was when it was first asked about.

    Attributes:
        url: Its address.
        size: Its length in bytes.
    """

    def __init__(self, url: str, filesystem: Any, path: str, size: int | None = None) -> None:
        """Take what was listed of a file, or ask about it.

        Args:
            url: Its address.
            filesystem: The fsspec file system.
            path: What the file system calls it.
            size: Its length, where it was listed.

        Raises:
            CheckpointError: If nobody knows how long it is.
            OSError: If it is not there, may not be read, or cannot be reached.
        """  # noqa: DOC502 - partly raised by what is called
        self.url, self._filesystem, self._path = url, filesystem, path
        self._stamp: str | None = None
        if size is None:
            info = self._ask()
            size, self._stamp = info.get("size"), _stamp(info)
        if not isinstance(size, int):
            raise CheckpointError(f"{url}: its server does not say how long it is: fetch it, name the copy")
        self.size = size

    @property
    def stamp(self) -> str:
        """What its server said of its content, hashed, when it was asked first; a list says less."""
        if self._stamp is None:
            self._stamp = _stamp(self._ask())
        return self._stamp

    def read(self, begin: int, nbytes: int) -> bytes:
        """Read a range of bytes.

        Args:
            begin: The first.
            nbytes: How many.

        Returns:
            They.

        Raises:
            OSError: If it may not be read, is gone, or the connection failed every time.
        """  # noqa: DOC502 - raised by what is called

        def ask() -> bytes:
            found: bytes = self._filesystem.cat_file(self._path, start=begin, end=begin + nbytes)
            if len(found) != nbytes:
                raise ShortAnswerError(f"{len(found)} bytes came of the {nbytes} from byte {begin} on")
            return found

        if not nbytes:
            return b""
        return request(ask, self.url)

    def check_unchanged(self) -> None:
        """Ask again, and compare with what was said before anything was read.

        Raises:
            CheckpointError: If it is another, or gone.
            OSError: If it cannot be reached.
        """  # noqa: DOC502 - partly raised by what is called
        before = self.stamp
        try:
            info = self._ask()
        except FileNotFoundError:
            info = {}
        if (info.get("size"), _stamp(info)) != (self.size, before):
            raise CheckpointError(
                f"{self.url}: changed while it was used; start again when nothing writes to it"
            )

    def check_ranges(self) -> None:
        """Refuse a web server that gives whole files only, before it does.

        Raises:
            CheckpointError: If it answers a request for the first byte with more.
            OSError: If it cannot be reached.
        """  # noqa: DOC502 - partly raised by what is called
        if self.size and is_web(self.url) and not self._gives_ranges():
            raise CheckpointError(
                f"{self.url}: its server gives whole files only, where parts are needed (byte ranges, answer "
                "206): fetch the folder, and name the copy"
            )

    def _gives_ranges(self) -> bool:
        from fsspec.asyn import sync

        async def ask() -> int:
            session = await self._filesystem.set_session()
            address = self._filesystem.encode_url(self._path)
            options = {key: value for key, value in self._filesystem.kwargs.items() if key != "headers"}
            headers = {**self._filesystem.kwargs.get("headers", {}), "Range": "bytes=0-0"}
            async with session.get(address, headers=headers, **options) as answer:
                answer.raise_for_status()
                status: int = answer.status
                return status

        status: int = request(lambda: sync(self._filesystem.loop, ask), self.url)
        return status == _PARTIAL

    def _ask(self) -> Mapping[str, Any]:
        def ask() -> Mapping[str, Any]:
            self._filesystem.invalidate_cache(self._path)
            info: Mapping[str, Any] = self._filesystem.info(self._path)
            return info

        info = request(ask, self.url)
        if info.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, "is a folder, wanted a file", self.url)
        return info


def _stamp(info: Mapping[str, Any]) -> str:
    said = [(tag, str(info[tag])) for tag in _TAGS if info.get(tag) is not None]
    return hashlib.sha256(repr((info.get("size"), said)).encode()).hexdigest()
