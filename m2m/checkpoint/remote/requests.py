"""Requests over a network: made again where the connection fails, and failures told in one line."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Rests between the attempts at a request that fails for want of a connection, in seconds.
PAUSES = (0.2, 1.0, 4.0, 10.0)
#: Answers of servers: not allowed; not there; come again later.
_FORBIDDEN, _MISSING, _LATER = (401, 403), (404, 410), (408, 425, 429)
#: Libraries whose errors are about connections, where none has a status.
_CLIENTS = frozenset({"aiohttp", "httpx", "httpx2", "httpcore", "requests", "urllib3", "botocore"})
_MOST_LETTERS = 200


class ShortAnswerError(OSError):
    """An answer that has other bytes than were asked for."""


def request(act: Callable[[], T], url: str) -> T:
    """Do something over the network, again after a rest where the connection fails.

    Args:
        act: What to do; may be done more than once.
        url: What it is done with, for the error.

    Returns:
        What `act` gives.

    Raises:
        OSError: If it may not be done, is not there, or failed every time; its file name is the URL.
    """  # noqa: DOC502 - chosen below
    pauses = iter(PAUSES)
    while True:
        try:
            return act()
        except Exception as error:  # every file system has its own: of its client, its loop, its server
            final = _final(error, url)
            pause = next(pauses, None)
            if final is None and pause is None:
                said = f"the connection failed {len(PAUSES) + 1} times, at last: {_said(error)}"
                final = OSError(errno.EIO, said, url)
            if final is not None:
                raise final from error
        time.sleep(pause or 0)


def _final(error: Exception, url: str) -> OSError | None:
    # What it makes no sense to ask again.
    status = next(filter(None, map(_status, _causes(error))), None)
    if status is not None and (status >= 500 or status in _LATER):
        return None
    kinds = [type(cause).__name__ for cause in _causes(error)]
    if status in _FORBIDDEN or isinstance(error, PermissionError) or any("Credential" in k for k in kinds):
        told = f" (the server says {status})" if status else ""
        return PermissionError(errno.EACCES, f"no permission{told}: check the credentials", url)
    if status in _MISSING or (
        isinstance(error, FileNotFoundError) and not any(map(_unreached, _causes(error)))
    ):
        return FileNotFoundError(errno.ENOENT, "is not there", url)
    if status is not None and status >= 400:
        return OSError(errno.EIO, f"is refused: {_said(error)}", url)
    if isinstance(error, IsADirectoryError | NotImplementedError | ValueError | TypeError):
        return OSError(errno.EIO, f"cannot be used: {_said(error)}", url)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unreached(error: BaseException) -> bool:
    # Some file systems say that a file is not there when its server is not.
    client = type(error).__module__.partition(".")[0] in _CLIENTS
    return client or isinstance(error, ConnectionError | TimeoutError)


def _status(error: BaseException) -> int | None:
    # Clients keep the server's answer under different names. One that was cut off has a code of its own.
    if type(error).__module__ == "aiohttp.http_exceptions":
        return None
    answer = getattr(error, "response", None)
    for holder, name in ((error, "status"), (error, "code"), (answer, "status_code")):
        value = getattr(holder, name, None)
        if isinstance(value, int | str) and str(value).isdigit() and 100 <= int(value) < 600:
            return int(value)
    return None


def _said(error: Exception) -> str:
    # What is furthest down says most: file systems put their own errors around their clients'.
    for cause in reversed([*_causes(error)]):
        said = " ".join(str(cause).split())
        if said:
            return said if len(said) <= _MOST_LETTERS else said[:_MOST_LETTERS] + "…"
    return type(error).__name__
