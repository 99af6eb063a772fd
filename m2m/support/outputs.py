"""What will be written, held against what is read, what is kept and what is there, before any work."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Literal

from m2m.errors import ConfigError, InputError, RunFolderError
from m2m.support.files import NAME_MAX, UNFINISHED

#: Marks a folder as a run's, and what `m2m run` and `m2m mix` keep there: only they write these.
RUN_MARK = "run.json"
RUN_KEEPS = frozenset(
    {
        RUN_MARK, "config.toml", "scores.sqlite", "scores.csv", "data.json",
        "contamination.json", "embeddings.json",
        "results.json", "validation.json", "report.html", ".lock", "base", "experts", "mixtures", "mix",
        "trainings", "logs",
    }
)  # fmt: skip
#: Where a run has its figures; analyses of the run write there too, as into a folder.
RUN_DRAWS = "figures"
#: Names that m2m gives itself end so: tables of scores, outcomes of races, work that is not finished.
_SQLITE_BESIDE = ("-wal", "-shm", "-journal")
_TABLE = ".sqlite"
_OWN_ENDINGS = (*(f"{_TABLE}{ending}" for ending in _SQLITE_BESIDE), ".race.csv", ".race.json")
MERGING = ".merging"
#: How an SQLite file begins.
_SQLITE_MAGIC = b"SQLite format 3\0"
#: Trees of the system: what stands there is no file that could be replaced.
_SYSTEM, _MEMORY = ("/dev/", "/proc/", "/sys/"), "/dev/shm/"
#: What analyses and figures are written as.
_RESULTS = (".json", ".csv", ".png", ".svg", ".md")

_KINDS = {
    stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link",
}  # fmt: skip


@dataclass(frozen=True)
class Output:
    """One file or folder that will be written.

    Attributes:
        said: How the user named it, as in `--out scores.csv`.
        path: Where it is; a link stands for what it points to.
        kind: A `file` is replaced in one step, a `table` is an SQLite file that is added to, a `folder` is
            made if need be and written into, and a `work` folder is m2m's to clear away.
        own: Whether m2m chose the name, beside or below what the user named.
    """

    said: str
    path: Path
    kind: Literal["file", "table", "folder", "work"] = "file"
    own: bool = False

    @cached_property
    def real(self) -> Path:
        """Where it is once links are followed; a link in place of a work folder is not."""
        path = os.path.abspath(self.path) if self.kind == "work" else os.path.realpath(self.path)
        return Path(path)

    @cached_property
    def there(self) -> os.stat_result | None:
        """What is there; None if nothing is."""
        return self.look_at(self.real)

    @property
    def is_folder(self) -> bool:
        """Whether it will be a folder."""
        return self.kind in ("folder", "work")

    def refusal(self, why: str) -> InputError:
        """Make the error that says `why` it cannot be written, going on where the name ends."""
        name = f"{self.said}: {self.path}" if self.own else self.said
        return (RunFolderError if self.is_folder else ConfigError)(f"{name}{why}")

    def look_at(self, path: Path) -> os.stat_result | None:
        """What is at a place on the way to it, if anything; links are not followed any further."""
        try:
            return os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise self.refusal(f": {getattr(error, 'strerror', None) or error}") from None


def check_outputs(outputs: Sequence[Output], *, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write what could not be written, or what would write over something that is needed."""
    # Links are followed: what a link points to is what is written. Nothing is made or changed.
    read = _identities(inputs)
    seen: dict[Path, Output] = {}
    for output in outputs:
        _check_name(output)
        _check_kind(output)
        _check_place(output)
        _check_content(output)
        _check_inputs(output, read)
        if (other := seen.setdefault(output.real, output)) is not output:
            raise output.refusal(f" is the file of {other.said} too: name another")
        if not output.own:
            _check_runs(output)


def results_in(said: str, folder: Path, beginning: str) -> list[Output]:
    """List what an analysis will write: the folder, and those of its files that are there already."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    ours = (path for path in there if path.name.startswith(beginning) and path.suffix in _RESULTS)
    return [Output(said, folder, "folder"), *(Output(said, path, own=True) for path in ours)]


def _check_name(output: Output) -> None:
    if "\0" in str(output.path):
        raise output.refusal(": a path cannot hold a null character")
    if str(output.path) == "-":
        raise output.refusal(" would be the standard output; wanted a file")
    name = output.real.name
    hidden = name.startswith(".") and name.endswith((UNFINISHED, MERGING))
    ours = name.endswith(_OWN_ENDINGS if output.kind == "table" else (_TABLE, *_OWN_ENDINGS))
    if (hidden or ours) and not output.own:
        raise output.refusal(" has a name of the kind that m2m gives its own files: name it otherwise")
    longest = NAME_MAX - (max(map(len, _SQLITE_BESIDE)) if output.kind == "table" else 0)
    if len(os.fsencode(name)) > longest:
        raise output.refusal(f" has a name of {len(os.fsencode(name))} bytes, wanted at most {longest}")


def _check_kind(output: Output) -> None:
    # Whatever a link in /dev leads to: `/dev/stdout` may be a file today, and a pipe tomorrow.
    if os.path.abspath(output.path).startswith(_SYSTEM) and not str(output.real).startswith(_MEMORY):
        raise output.refusal(" is the system's, not a file that could be replaced: name a file")
    if output.there is None:
        return
    kind, wanted = stat.S_IFMT(output.there.st_mode), stat.S_IFDIR if output.is_folder else stat.S_IFREG
    if kind != wanted:
        raise output.refusal(f" is {_KINDS.get(kind, 'something else')}, wanted {_KINDS[wanted]}")
    if not os.access(output.real, os.W_OK, effective_ids=True):
        raise output.refusal(" may not be written: it is read-only")


def _check_place(output: Output) -> None:
    if output.is_folder and output.there is not None:
        return
    for folder in output.real.parents:
        found = output.look_at(folder)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise output.refusal(f": {folder} is {_KINDS[stat.S_IFMT(found.st_mode)]}, wanted a folder")
        if found is None and not output.is_folder:
            parent = output.real.parent if output.path.parent.is_dir() else output.path.parent  # of a link
            raise output.refusal(f": there is no folder {parent}; `mkdir -p {quote(str(parent))}` makes it")
        if found is not None:
            if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
                raise output.refusal(f": nothing may be written in {folder}")
            return


def _check_content(output: Output) -> None:
    if output.there is None or output.is_folder:
        return
    if output.kind == "table":
        if output.there.st_size and not _is_database(output):
            raise output.refusal(" is no SQLite database: it is left as it is")
        for ending in _SQLITE_BESIDE:
            _check_kind(Output(output.said, output.real.with_name(output.real.name + ending), own=True))
    elif _is_database(output):
        raise output.refusal(" is an SQLite database, perhaps of scores, which would be lost")


def _is_database(output: Output) -> bool:
    try:
        with output.real.open("rb") as file:
            return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError as error:
        raise output.refusal(f": {error.strerror}") from None


def _check_runs(output: Output) -> None:
    """Refuse what a run keeps; beside that, a run folder is a folder like any other."""
    below = output.real
    kept = RUN_KEEPS if output.is_folder else RUN_KEEPS | {RUN_DRAWS}
    for folder in output.real.parents:
        if below.name in kept and (folder / RUN_MARK).is_file():
            raise output.refusal(f": {below} is kept by the run in {folder}: choose another place")
        below = folder


#: Device and inode, which are the same under every name and link.
_Identity = tuple[int, int]


def _identities(inputs: Iterable[str | Path]) -> dict[_Identity, Path]:
    # Files in folders too: they may be links to elsewhere, as in the hub's cache.
    read: dict[_Identity, Path] = {}
    for path in map(Path, inputs):
        for place in (path, *_entries(path)):
            try:
                found = place.stat()
            except (OSError, ValueError):
                continue  # whoever reads it will say so
            read.setdefault((found.st_dev, found.st_ino), place)
    return read


def _entries(path: Path) -> Iterator[Path]:
    try:
        yield from path.iterdir()
    except (OSError, ValueError):
        return


def _check_inputs(output: Output, read: dict[_Identity, Path]) -> None:
    found = output.there
    if found is not None and (found.st_dev, found.st_ino) in read:
        place = read[found.st_dev, found.st_ino]
        raise output.refusal(f" is an input, {place}, which would be written over: choose another place")
    for folder in output.real.parents:
        found = output.look_at(folder)
        if found is not None and (found.st_dev, found.st_ino) in read:
            place = read[found.st_dev, found.st_ino]
            raise output.refusal(f" lies in an input, {place}, which is left as it is: choose another place")
    if output.kind == "work":
        for place in read.values():
            if output.real in Path(os.path.realpath(place)).parents:
                raise output.refusal(
                    f" is cleared away, and holds an input, {place}: move it, or choose another place"
                )
