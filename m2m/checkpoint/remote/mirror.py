"""Local mirrors of checkpoints that lie elsewhere: small files whole, weights as headers and holes.

A weight file's mirror has the file's length and takes no room but for its header; whoever needs tensors has
their bytes filled in (`m2m.merging.stream.supply`), or reads them past the mirror. So all that looks at
names, headers and configurations works on a mirror as on any folder. Whoever does not know of mirrors gets
one without holes: a local copy.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from m2m.checkpoint.remote.address import last_part
from m2m.checkpoint.remote.crew import Crew
from m2m.checkpoint.remote.listing import list_files, shards_of
from m2m.checkpoint.remote.remote_file import RemoteFile
from m2m.checkpoint.side_files import list_side_files
from m2m.errors import CheckpointError, ConfigError
from m2m.support.cache import cache_dir
from m2m.support.files import clear_away, unfinished_folder
from m2m.support.units import format_bytes, parse_bytes

#: Names the folder in which mirrors and parts of files lie while they are needed.
CACHE_VARIABLE = "M2M_REMOTE_CACHE"
#: Says how much may be fetched of models that must be here whole.
SIZE_VARIABLE = "M2M_REMOTE_CACHE_SIZE"
#: What that is, and what a merge's cache holds, where nobody says.
CACHE_SIZE = "20GB"
#: Bytes of a request.
PART_BYTES = 4 * 2**20
#: Requests under way at a time.
THREADS = 8
_LENGTH_BYTES = 8
_INDEX = "model.safetensors.index.json"
_PICKLED_INDEX = "pytorch_model.bin.index.json"
#: Small files, besides those that travel with a model, that tell what a checkpoint is.
_READ = (_INDEX, _PICKLED_INDEX, "adapter_config.json")
#: Files of weights that no index names.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Name of what is unfinished in the cache, which never gets finished.
_WORK = "work"


class Mirrors:
    """Mirrors in one folder of the cache, which is there once it is needed.

    Attributes:
        files: What each mirrored file is a mirror of.
    """

    def __init__(self, stack: ExitStack) -> None:
        """Begin without any; `stack` removes them."""
        self.files: dict[Path, RemoteFile] = {}
        self._stack = stack
        self._places: list[tuple[str, Path]] = []
        self._copies: dict[str, list[RemoteFile]] = {}
        self._copied_bytes = 0
        self._filled: set[Path] = set()

    @cached_property
    def _root(self) -> Path:
        return self._stack.enter_context(scratch_folder())

    def mirror(self, url: str) -> Path:
        """Give the place of a folder's or file's mirror, laid out if there is none yet."""
        return dict(self._places).get(url) or self._new(url)

    def adopt(self, file: RemoteFile) -> Path:
        """Give the place of a new mirror of a file that another process opened; nothing of it is there."""
        place = self._root / str(len(self._places)) / last_part(file.url)
        self._add(place, file)
        self._places.append((file.url, place))
        return place

    def copy(self, url: str) -> Path:
        """Give the place of a folder's or file's copy, fetched if there is none yet, or if it has changed."""
        place = dict(self._places).get(url)
        if place is not None and _are_unchanged(self._copies.get(url, [])):
            return place
        place = self._new(url)
        with telling():
            self._copies[url] = self._fetch(url, place)
        return place

    def _new(self, url: str) -> Path:
        place = self._root / str(len(self._places)) / (last_part(url) or "checkpoint")
        with telling():
            self._lay_out(url, place)
        self._places.append((url, place))
        return place

    def written(self, text: str) -> str:
        """Write addresses in a text in place of mirrors."""
        for url, place in self._places:
            text = text.replace(str(place), url)
        return text

    def bring_header(self, place: Path, most: int) -> None:
        """Fill in a safetensors file's header of at most so many bytes, unless it is."""
        if place in self._filled:
            return
        file = self.files[place]
        with telling():
            _ = file.stamp  # before anything of it is read
            file.check_ranges()
            length = file.read(0, min(_LENGTH_BYTES, file.size))
            rest = min(int.from_bytes(length, "little"), file.size - len(length), most)
            header = length + file.read(len(length), rest)
        with place.open("r+b") as local:
            local.write(header)
        self._filled.add(place)

    def _lay_out(self, url: str, place: Path) -> None:
        shutil.rmtree(place.parent, ignore_errors=True)  # of an attempt that failed
        place.parent.mkdir()
        found = list_files(url)
        if "" in found:  # a file by itself
            self._add(place, found[""])
            return
        for name, file in found.items():
            self._add(place / name, file)
        with Crew(THREADS) as crew:
            crew.map(self._fill, [place / name for name in _READ if name in found])
            if _INDEX in found:
                for name, file in shards_of(url, place / _INDEX, found).items():
                    self._add(place / name, file)
            crew.map(self._fill, list(list_side_files(place).values()))

    def _fetch(self, url: str, place: Path) -> list[RemoteFile]:
        # Weights whole; what is left of other files would be read as zeros. None is a mirror any longer.
        mine = [file for file in self.files if file == place or place in file.parents]
        weights = [file for file in mine if file not in self._filled and _is_weight(file, place)]
        self._copied_bytes += sum(self.files[file].size for file in weights)
        most = parse_bytes(os.environ.get(SIZE_VARIABLE) or CACHE_SIZE)
        if self._copied_bytes > most:
            raise CheckpointError(
                f"{url}: must be here whole, and its weights bring what is fetched to "
                f"{format_bytes(self._copied_bytes)}, more than {format_bytes(most)}: raise {SIZE_VARIABLE}"
            )
        parts = [
            (file, begin, min(begin + PART_BYTES, self.files[file].size))
            for file in weights
            for begin in range(0, self.files[file].size, PART_BYTES)
        ]
        with Crew(THREADS) as crew:
            crew.map(lambda file: self.files[file].check_ranges(), weights)
            crew.map(lambda part: fill(part[0], self.files[part[0]], part[1], part[2]), parts)
        used = {file: self.files.pop(file) for file in mine if file in self._filled or file in weights}
        for file in mine:
            if file not in used:
                del self.files[file]
                file.unlink()
        if not _are_unchanged(used.values()):
            raise CheckpointError(f"{url}: changed while it was fetched; start again")
        return [*used.values()]

    def _add(self, place: Path, file: RemoteFile) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as local:
            local.truncate(file.size)
        self.files[place] = file

    def _fill(self, place: Path) -> None:
        if place not in self._filled:
            _ = self.files[place].stamp
            place.write_bytes(self.files[place].read(0, self.files[place].size))
            self._filled.add(place)


def _is_weight(file: Path, place: Path) -> bool:
    # One of the checkpoint's own: repositories hold the same weights in several formats.
    if file == place or file.name in _WEIGHTS:
        return True
    indices = [index for index in (place / _INDEX, place / _PICKLED_INDEX) if index.is_file()]
    return any(json.dumps(file.name) in index.read_text(encoding="utf-8") for index in indices)


def _are_unchanged(files: Iterable[RemoteFile]) -> bool:
    with telling(), Crew(THREADS) as crew:
        try:
            crew.map(RemoteFile.check_unchanged, [*files])
        except CheckpointError:
            return False
    return True


def fill(place: Path, file: RemoteFile, begin: int, end: int) -> None:
    """Fill a range of bytes of a mirror in."""
    content = memoryview(file.read(begin, end - begin))
    descriptor = os.open(place, os.O_WRONLY | os.O_CLOEXEC)
    try:
        while content:
            count = os.pwrite(descriptor, content, begin)
            content, begin = content[count:], begin + count
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        said = f"{error.strerror}; name another folder in {CACHE_VARIABLE}, or a smaller cache"
        raise OSError(error.errno, said, str(remote_cache())) from error
    finally:
        os.close(descriptor)


@contextmanager
def telling() -> Iterator[None]:
    """Make a `CheckpointError` of what goes wrong with a file that lies elsewhere."""
    try:
        yield
    except OSError as error:
        if "://" not in str(error.filename):
            raise
        raise CheckpointError(f"{error.filename}: {error.strerror}") from error


def remote_cache() -> Path:
    """Return the folder in which mirrors lie: `$M2M_REMOTE_CACHE`, or `remote` in m2m's cache."""
    return Path(os.environ.get(CACHE_VARIABLE) or cache_dir() / "remote").absolute()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder in the cache that is removed at the end; what killed processes left there goes first."""
    cache = remote_cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{cache}: cannot be made to keep parts of models that lie elsewhere ({error.strerror}); name "
            f"another folder in {CACHE_VARIABLE}"
        ) from error
    with unfinished_folder(cache / _WORK, cache) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def clear_scratch() -> None:
    """Remove what ended processes left in the cache."""
    clear_away(remote_cache() / _WORK, remote_cache())
