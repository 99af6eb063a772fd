"""Local mirrors of checkpoints that lie elsewhere: small files whole, weights as headers and holes.

A weight file's mirror has the file's length and takes no room but for its header; whoever needs tensors has
their bytes filled in (`m2m.merging.stream.supply`), or reads them past the mirror. So all that looks at
names, headers and configurations works on a mirror as on any folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from m2m.checkpoint.remote.address import last_part
from m2m.checkpoint.remote.crew import Crew
from m2m.checkpoint.remote.listing import list_files, shards_of
from m2m.checkpoint.remote.remote_file import RemoteFile
from m2m.checkpoint.side_files import list_side_files
from m2m.errors import CheckpointError
from m2m.support.cache import cache_dir
from m2m.support.files import unfinished_folder

#: Names the folder in which mirrors and parts of files lie while they are needed.
CACHE_VARIABLE = "M2M_REMOTE_CACHE"
#: Requests under way at a time.
THREADS = 8
_LENGTH_BYTES = 8
_INDEX = "model.safetensors.index.json"
#: Small files, besides those that travel with a model, that tell what a checkpoint is.
_READ = (_INDEX, "pytorch_model.bin.index.json", "adapter_config.json")


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
        self._filled: set[Path] = set()

    @cached_property
    def _root(self) -> Path:
        return self._stack.enter_context(scratch_folder())

    def mirror(self, url: str, *, anew: bool) -> Path:
        """Give the place of a folder's or file's mirror, laid out if there is none yet, or `anew`."""
        if not anew and (known := dict(self._places).get(url)):
            return known
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
    cache.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(cache / "work", cache) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
