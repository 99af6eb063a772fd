"""Text sources: how documents come out of files, and which of them, in a fixed order, are on which side."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m2m.data import fetch
from m2m.errors import ConfigError, DataError
from m2m.support.doors import read_text, reading, unique_names
from m2m.support.options import NO_KEY, OneOrMore
from m2m.support.progress import Progress
from m2m.support.schema import did_you_mean

#: A reader takes a file's text and the field it is asked for, and yields documents.
Reader = Callable[[str, str], Iterator[str]]

#: Shorter string literals are identifiers and messages, not documents.
SHORTEST_LITERAL = 200


def whole(text: str, field: str) -> Iterator[str]:
    """Read a file as one document."""
    yield text


def json_lines(text: str, field: str) -> Iterator[str]:
    """Read one field of every line of a JSON Lines file."""
    # Only ends of lines end a line: texts hold U+2028 and the like.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            record = json.loads(line, object_pairs_hook=unique_names)
            value = record.get(field) if isinstance(record, dict) else None
            if not isinstance(value, str):
                raise ValueError(
                    f"line {number}: wanted an object with a string {field!r}, got {line[:80]!r}"
                )
            value.encode()  # an escape can stand for half a letter, which no tokenizer takes
            yield value


def literals(text: str, field: str) -> Iterator[str]:
    """Read the string literals of Python source from 200 characters on: packages ship texts that way."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and len(node.value) >= SHORTEST_LITERAL
        ):
            yield node.value


def translations(text: str, field: str) -> Iterator[str]:
    """Read a gettext `.po` file's translated messages (`msgstr`), without header and obsolete entries."""
    entry: dict[str, str] = {}
    keyword = ""
    for line in [*text.splitlines(), ""]:
        starts_entry = line.startswith(("msgid ", "msgctxt ")) and keyword.startswith("msgstr")
        if starts_entry or not line:
            yield from _translated(entry)
            entry, keyword = {}, ""
        if line.startswith("msg"):
            keyword, _, line = line.partition(" ")
        if keyword and line.startswith('"'):
            entry[keyword] = entry.get(keyword, "") + ast.literal_eval(line)


def _translated(entry: Mapping[str, str]) -> Iterator[str]:
    """Yield an entry's translations; the header is the entry whose msgid is empty."""
    if entry.get("msgid"):
        yield from (value for keyword, value in entry.items() if keyword.startswith("msgstr") and value)


#: Reader by the name it has in a configuration.
READERS: Mapping[str, Reader] = {
    "text": whole,
    "jsonl": json_lines,
    "po": translations,
    "literals": literals,
}


@dataclass(frozen=True)
class TextSource:
    """Where a dataset's or a target's documents come from: the table's keys in a configuration.

    Attributes:
        package: Pinned packages whose files are read; empty: files under the configuration's folder.
        files: Globs of the files, relative to the package or the folder.
        exclude: Globs of files to leave out.
        read: Reader of the files: `text`, `jsonl`, `po` or `literals`.
        field: Key of the text in a JSON Lines object.
        drop: Regular expressions (multi-line) whose matches are cut out of every document.
        share: Which share of the documents, as bounds [from, to) on the hash of their content in [0, 1).
        where: Its table's name for messages.
    """

    package: OneOrMore = ()
    files: OneOrMore = ()
    exclude: OneOrMore = ()
    read: str = "text"
    field: str = "text"
    drop: OneOrMore = ()
    share: tuple[float, float] = (0.0, 1.0)
    where: str = dataclasses.field(default="", compare=False, metadata=NO_KEY)

    @classmethod
    def parse(cls, table: Mapping[str, Any], where: str) -> TextSource:
        """Build a source from its keys in a table; other keys of the table are somebody else's."""
        values: dict[str, Any] = {key: _strings(table, key, where) for key in _LISTS if key in table}
        values |= {key: _string(table, key, where) for key in ("read", "field") if key in table}
        if "share" in table:
            values["share"] = _share(table["share"], where)
        source = cls(**values, where=where)
        for pattern in source.drop:
            with reading("a regular expression", f"{where}: `drop` {pattern!r}", ConfigError):
                re.compile(pattern, re.MULTILINE)
        if not source.files:
            raise ConfigError(f"{where}: `files` is missing: globs of the files to read")
        if source.read not in READERS:
            hint = did_you_mean(source.read, READERS)
            raise ConfigError(f"{where}: `read` must be one of {list(READERS)}, got {source.read!r}{hint}")
        return source

    def part(self, low: float, high: float) -> TextSource:
        """Narrow the source to the part [low, high) of its share; disjoint parts share no document."""
        start, end = self.share
        return replace(self, share=(start + low * (end - start), start + high * (end - start)))

    def documents(self, root: Path, cache: Path, progress: Progress | None = None) -> list[str]:
        """Read the documents, without repeats, in the order of their hashes (a fixed shuffle)."""
        hashed = {}
        for path in self.paths(root, cache, progress):
            for document in self._read(path):
                hashed[_fraction(document)] = document
        low, high = self.share
        return [hashed[place] for place in sorted(hashed) if low <= place < high]

    def paths(self, root: Path, cache: Path, progress: Progress | None = None) -> list[Path]:
        """Find the files, sorted; refuses a glob that matches none."""
        folders = [fetch(name, cache, progress) for name in self.package] or [root]
        left_out = {path for glob in self.exclude for path in _glob(folders, glob)}
        found = set()
        for glob in self.files:
            matches = {path for path in _glob(folders, glob) if path.is_file()}
            if not matches:
                places = ", ".join(map(str, self.package or folders))
                raise DataError(f"{self.where}: no file matches {glob!r} in {places}")
            found |= matches
        return sorted(found - left_out)

    def _read(self, path: Path) -> Iterator[str]:
        text, what = read_text(path, "a text", DataError), f"what `read = {self.read!r}` reads"
        with reading(what, path, DataError), warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of Python source that is read for its literals
            documents = list(READERS[self.read](text, self.field))
        for document in documents:
            for pattern in self.drop:
                document = re.sub(pattern, "", document, flags=re.MULTILINE)
            if document.strip():
                yield document


#: Keys that are one string or a list of strings.
_LISTS = ("package", "files", "exclude", "drop")


def _glob(folders: Iterable[Path], pattern: str) -> list[Path]:
    # An absolute pattern is the user's own choice of files; pathlib's glob only takes relative ones.
    anchor = Path(pattern).anchor
    with reading("a glob of files", repr(pattern), ConfigError):
        relative = str(Path(pattern).relative_to(anchor))
        return [path for folder in folders for path in Path(anchor or folder).glob(relative)]


def _fraction(document: str) -> float:
    # By content, so that equal documents fall on the same side of any split.
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:6]) / 2**48


def _string(table: Mapping[str, Any], key: str, where: str) -> str:
    if not isinstance(table[key], str):
        raise ConfigError(f"{where}: `{key}` must be a string, got {table[key]!r}")
    return str(table[key])


def _strings(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = [table[key]] if isinstance(table[key], str) else table[key]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where}: `{key}` must be a string or a list of strings, got {table[key]!r}")
    return tuple(value)


def _share(value: Any, where: str) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(v) in {int, float} for v in value)
    if not numbers or not 0 <= value[0] < value[1] <= 1:
        raise ConfigError(f"{where}: `share` must be [from, to] with 0 ≤ from < to ≤ 1, got {value!r}")
    return float(value[0]), float(value[1])
