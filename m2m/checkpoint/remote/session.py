"""Who gets mirrors: work that knows of them, to its end. All others get copies, as long as the process."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from m2m.checkpoint.remote.address import remote_url, with_revision
from m2m.checkpoint.remote.crew import Crew
from m2m.checkpoint.remote.mirror import THREADS, Mirrors
from m2m.checkpoint.remote.remote_file import RemoteFile
from m2m.errors import M2MError

_session: ContextVar[Mirrors | None] = ContextVar("_session", default=None)


@contextmanager
def remote_session() -> Iterator[None]:
    """Open mirrors to the end of the block, each address looked up once; errors tell addresses.

    Raises:
        M2MError: What the block raises, with addresses in place of mirrors.
    """  # noqa: DOC502 - raised by what is called
    if _session.get() is not None:
        yield
        return
    with _new_session():
        yield


@contextmanager
def adopted(origins: Mapping[Path, RemoteFile]) -> Iterator[dict[Path, Path]]:
    """Mirror, to the end of the block, files that another process opened.

    Args:
        origins: What its mirrors are of, by their places there.

    Yields:
        Places of new mirrors by those places; nothing of their content is there yet.

    Raises:
        M2MError: What the block raises, with addresses in place of mirrors.
    """  # noqa: DOC502 - raised by what is called
    with _new_session() as mirrors:
        yield {place: mirrors.adopt(file) for place, file in origins.items()}


@contextmanager
def _new_session() -> Iterator[Mirrors]:
    with ExitStack() as stack:
        mirrors = Mirrors(stack)
        token = _session.set(mirrors)
        try:
            yield mirrors
        except M2MError as error:
            error.args = tuple(mirrors.written(str(part)) for part in error.args)
            raise
        finally:
            _session.reset(token)


@cache
def _of_process() -> Mirrors:
    stack = ExitStack()
    atexit.register(stack.close)
    return Mirrors(stack)


def mirrored(path: str | Path, revision: str | None = None) -> Path | None:
    """Lay out a local mirror of a checkpoint that lies elsewhere; outside of a session, a copy.

    Args:
        path: What the user wrote.
        revision: A revision of what lies on the hub.

    Returns:
        The mirror's folder or file; None if the path is a local one.

    Raises:
        CheckpointError: If nothing is there, may not be read, or cannot be reached.
    """  # noqa: DOC502 - raised by what is called
    url = remote_url(path)
    if url is None:
        return None
    session, url = _session.get(), with_revision(url, revision)
    return _of_process().copy(url) if session is None else session.mirror(url)


def origin_of(place: Path) -> RemoteFile | None:
    """The file that a place mirrors; None of any other place."""
    mirrors = _mirrors_with(place)
    return None if mirrors is None else mirrors.files[place]


def bring_headers(places: Iterable[Path], most: int) -> None:
    """Fill in headers of mirrored safetensors files, of at most so many bytes each; other files stay."""
    found = [(mirrors, place) for place in places if (mirrors := _mirrors_with(place)) is not None]
    with Crew(min(THREADS, len(found))) as crew:
        crew.map(lambda pair: pair[0].bring_header(pair[1], most), found)


def check_origins(places: Iterable[Path]) -> None:
    """Hold what places mirror against what it was; raises what `RemoteFile.check_unchanged` does."""
    found = [origin for place in places if (origin := origin_of(place)) is not None]
    with Crew(min(THREADS, len(found))) as crew:
        crew.map(RemoteFile.check_unchanged, found)


def written(text: str) -> str:
    """Write addresses in a text in place of mirrors."""
    session = _session.get()
    return _of_process().written(text if session is None else session.written(text))


def _mirrors_with(place: Path) -> Mirrors | None:
    known = (_session.get(), _of_process())
    return next((mirrors for mirrors in known if mirrors is not None and place in mirrors.files), None)
