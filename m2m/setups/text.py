"""Sources: where a dataset's or a target's documents come from, and which of them are on which side."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m2m.data import fetch, find, location
from m2m.errors import ConfigError, DataError
from m2m.setups.rows.collection import Collection
from m2m.setups.rows.formats import Completion, Document, Layout, as_chat, check_layout, layout_of
from m2m.setups.rows.gettext import TEXT, PairRule, pairs
from m2m.setups.rows.tables import ENDINGS, TABLES, Row, Rows, folder_rows, hub_rows, is_datasets_folder
from m2m.setups.rows.texts import TEXTS
from m2m.support.doors import read_text, reading
from m2m.support.options import NO_KEY, OneOrMore
from m2m.support.progress import Progress
from m2m.support.schema import did_you_mean

#: Reads translated messages as questions with answers.
PAIRS = "po_pairs"
#: What reads a file, by its name in a configuration.
READERS = (*TEXTS, PAIRS, *TABLES)


@dataclass(frozen=True)
class TextSource(PairRule):
    """Where a dataset's or a target's documents come from: the table's keys in a configuration.

    Attributes:
        package: Pinned packages whose files are read; empty: files under the configuration's folder.
        files: Globs of the files, relative to the package or the folder; a folder that `save_to_disk` of
            Hugging Face `datasets` wrote counts as a file.
        exclude: Globs of files to leave out.
        hub: Id of a data set on the Hugging Face hub, read through `datasets` and its cache. Instead of
            `files`.
        config: Configuration (subset) of that data set; empty: its default.
        split: Split to read, of a folder of `datasets` or a hub id that has several.
        read: Reader of the files: `jsonl`, `json`, `csv`, `parquet` or `arrow` for rows, `text` (a file is a
            document), `po` (translations of gettext) or `literals` (of Python) for text, `po_pairs` for
            messages of gettext with their translations. Empty: a file's ending says, and one that says
            nothing is text.
        format: What rows are: `text`, `prompt_completion`, `messages`, `alpaca` or `sharegpt`. Empty: the
            columns say.
        columns: What columns of the format are called in the file, where that is another name.
        field: Column of the text, for rows of text; the same as `columns.text`.
        where: Rows to keep: by column, the value or the values that it must have.
        chat: Whether prompts and completions are a user's question and the assistant's answer, and go through
            the model's chat template.
        drop: Regular expressions (multi-line) whose matches are cut out of every text.
        share: Which share of the documents, as bounds [from, to) on the hash of their content in [0, 1).
        said: Its table's name for messages.
    """

    package: OneOrMore = ()
    files: OneOrMore = ()
    exclude: OneOrMore = ()
    hub: str = ""
    config: str = ""
    split: str = ""
    read: str = ""
    format: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    field: str = ""
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    chat: bool = False
    drop: OneOrMore = ()
    share: tuple[float, float] = (0.0, 1.0)
    said: str = dataclasses.field(default="", compare=False, metadata=NO_KEY)

    @classmethod
    def parse(cls, table: Mapping[str, Any], said: str) -> TextSource:
        """Build a source from its keys in a table; other keys of the table are somebody else's."""
        values: dict[str, Any] = {key: _strings(table, key, said) for key in _LISTS if key in table}
        values |= {key: _string(table, key, said) for key in _STRINGS if key in table}
        values |= {key: parse(table[key], said) for key, parse in _PARSED.items() if key in table}
        source = cls(**values, said=said)
        source._check()
        return source

    def _check(self) -> None:
        for pattern in self.drop:
            with reading("a regular expression", f"{self.said}: `drop` {pattern!r}", ConfigError):
                re.compile(pattern, re.MULTILINE)
        if not self.files and not self.hub:
            raise ConfigError(f"{self.said}: `files` is missing: globs of the files to read, or `hub`, an id")
        if self.hub and (self.files or self.package or self.exclude or self.read):
            raise ConfigError(f"{self.said}: `hub` stands for `files`, `package`, `exclude` and `read`")
        if self.config and not self.hub:
            raise ConfigError(f"{self.said}: `config` is a configuration of a `hub` id, and there is none")
        if self.read and self.read not in READERS:
            raise ConfigError(
                f"{self.said}: `read` must be one of {list(READERS)}, got {self.read!r}"
                f"{did_you_mean(self.read, READERS)}"
            )
        if self.field and self.format not in ("", "text"):
            raise ConfigError(f"{self.said}: `field` is the column of a text, the format is {self.format}")
        self._check_pairs()
        if self.read in (*TEXTS, PAIRS) and (of_rows := [key for key in _OF_ROWS if getattr(self, key)]):
            raise ConfigError(
                f"{self.said}: `{of_rows[0]}` is for rows, and `read = {self.read!r}` reads no rows"
            )
        check_layout(self.named_format, self.renamed, self.said)

    def _check_pairs(self) -> None:
        if self.read != PAIRS:
            if self.prompt or self.letters != PairRule.letters:
                raise ConfigError(f'{self.said}: `prompt` and `letters` are for `read = "{PAIRS}"`')
        elif TEXT not in self.prompt:
            raise ConfigError(
                f"{self.said}: `prompt` must say how a question is made of a message, as in "
                f'"Translate into Spanish: {TEXT}\\n"; got {self.prompt!r:.60}'
            )
        elif self.drop:
            raise ConfigError(f"{self.said}: `drop` is for text, and `read = {PAIRS!r}` reads pairs")

    @property
    def renamed(self) -> dict[str, str]:
        """What columns of the format are called in the file, where that is another name."""
        return {**self.columns, "text": self.field} if self.field else dict(self.columns)

    @property
    def named_format(self) -> str:
        """The format that the table names; empty if the columns are to say."""
        return self.format or ("text" if self.field else "")

    def part(self, low: float, high: float) -> TextSource:
        """Narrow the source to the part [low, high) of its share; disjoint parts share no document."""
        start, end = self.share
        return replace(self, share=(start + low * (end - start), start + high * (end - start)))

    def whole(self) -> TextSource:
        """The source without its share: what has to be read for any part of it."""
        return replace(self, share=(0.0, 1.0))

    def collect(self, root: Path, cache: Path, progress: Progress | None = None) -> Collection:
        """Read the documents, each once, in the order of their hashes (a fixed shuffle).

        Args:
            root: Folder that relative globs start from.
            cache: Folder of fetched packages.
            progress: Told about downloads.

        Returns:
            The documents of the source's share.

        Raises:
            DataError: If a file cannot be read, or a row does not fit.
        """  # noqa: DOC502 - raised by what is called
        documents = self._documents(root, cache, progress)
        if self.chat:
            documents = ((where, self._asked(document)) for where, document in documents)
        return Collection.of(documents).part(self.share)

    def texts(self, root: Path, cache: Path, progress: Progress | None = None) -> list[str]:
        """Read documents that must be text; see `collect`."""
        found = self.collect(root, cache, progress)
        if not found.is_text:
            raise DataError(
                f"{self.said}: wanted text, got questions with answers; `field` names the column of a text"
            )
        return found.texts

    def paths(self, root: Path, cache: Path, progress: Progress | None = None) -> list[Path]:
        """Find the files, sorted; refuses a glob that matches none."""
        folders = [fetch(name, cache, progress) for name in self.package] or [root]
        left_out = {path for glob in self.exclude for path in _glob(folders, glob)}
        found = set()
        for glob in self.files:
            matches = {path for path in _glob(folders, glob) if path.is_file() or is_datasets_folder(path)}
            if not matches:
                places = ", ".join(map(str, self.package or folders))
                raise DataError(f"{self.said}: no file matches {glob!r} in {places}")
            found |= matches
        return sorted(found - left_out)

    def first(self, root: Path, cache: Path) -> Document | None:
        """Read the first document alone.

        Args:
            root: Folder that relative globs start from.
            cache: Folder of fetched packages.

        Returns:
            The document; None if something would have to be fetched for it, or there is none.

        Raises:
            InputError: If a package is unknown, a glob matches no file, or the first row does not fit.
        """  # noqa: DOC502 - raised by what is called
        packages = [find(name) for name in self.package]
        if self.hub or not all(location(package, cache).is_dir() for package in packages):
            return None
        return next((document for _, document in self._documents(root, cache, None)), None)

    def _documents(
        self, root: Path, cache: Path, progress: Progress | None
    ) -> Iterator[tuple[str, Document]]:
        rows = _RowReader(self)
        if self.hub:
            yield from rows.documents(hub_rows(self.hub, self.config, self.split, self.said))
        paths = [] if self.hub else self.paths(root, cache, progress)
        self._check_rows(paths)
        for path in paths:
            reader = self._reader(path)
            if path.is_dir():
                yield from rows.documents(folder_rows(path, self.split, self.said))
            elif self.split:
                raise ConfigError(
                    f"{self.said}: `split` is for a folder of `datasets` or a hub id, and {path} is a file: "
                    'name the files of the split in `files`, or keep rows as in `where = { split = "train" }`'
                )
            elif reader == PAIRS:
                yield from ((pair.where, pair) for pair in self._pairs(path))
            elif reader in TEXTS:
                yield from self._texts(path, reader)
            else:
                yield from rows.documents(TABLES[reader](path))
        rows.check()

    def _reader(self, path: Path) -> str:
        return self.read or ENDINGS.get(path.suffix.lower(), "text")

    def _check_rows(self, paths: Sequence[Path]) -> None:
        """Refuse keys for rows where no file has any; a folder of `datasets` has."""
        # `split` has a message of its own.
        of_rows = [key for key in _OF_ROWS if getattr(self, key) and key != "split"]
        if of_rows and paths and not any(path.is_dir() or self._reader(path) in TABLES for path in paths):
            raise ConfigError(
                f"{self.said}: `{of_rows[0]}` is for rows, and {paths[0]} is read as text: take the key "
                f"away, or say what the file is, as in `read = {next(iter(TABLES))!r}`"
            )

    def _asked(self, document: Document) -> Document:
        if isinstance(document, str):
            raise ConfigError(
                f"{self.said}: `chat` is for questions with answers, and its documents are text"
            )
        return as_chat(document)

    def _texts(self, path: Path, reader: str) -> Iterator[tuple[str, str]]:
        text, what = read_text(path, "a text", DataError), f"what `read = {reader!r}` reads"
        with reading(what, path, DataError), warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of Python source that is read for its literals
            documents = list(TEXTS[reader](text))
        for line, document in documents:
            yield str(path) if line is None else f"{path}, line {line}", self.cleaned(document)

    def _pairs(self, path: Path) -> list[Completion]:
        text = read_text(path, "a text", DataError)
        with reading(f"what `read = {PAIRS!r}` reads", path, DataError):
            return list(pairs(text, self, str(path)))

    def cleaned(self, text: str) -> str:
        """Cut what `drop` matches out of a text."""
        for pattern in self.drop:
            text = re.sub(pattern, "", text, flags=re.MULTILINE)
        return text


class _RowReader:
    """Reads the rows of a source's files, all of one format."""

    def __init__(self, source: TextSource) -> None:
        self._source = source
        self._layout: Layout | None = None
        self._seen = self._kept = 0

    def documents(self, rows: Rows) -> Iterator[tuple[str, Document]]:
        source = self._source
        for where, row in rows:
            self._seen += 1
            if not self._is_wanted(row, where):
                continue
            self._kept += 1
            if self._layout is None:
                self._layout = layout_of(source.named_format, source.renamed, row, where)
            document = self._layout.read(row, where)
            if isinstance(document, str):
                yield where, source.cleaned(document)
            elif source.drop:
                raise ConfigError(f"{source.said}: `drop` is for text, and its rows are {self._layout.name}")
            else:
                yield where, document

    def check(self) -> None:
        if self._seen and not self._kept:
            raise DataError(f"{self._source.said}: none of {self._seen} rows is as `where` asks")

    def _is_wanted(self, row: Row, where: str) -> bool:
        for column, values in self._source.where.items():
            if column not in row:
                raise DataError(
                    f"{where}: there is no column {column!r}, which `where` asks for"
                    f"{did_you_mean(column, row)}; got {list(row)}"
                )
            # The cells of a CSV file are text.
            if not any(row[column] == value or row[column] == str(value) for value in values):
                return False
        return True


#: Keys that are one string or a list of strings, and one string.
_LISTS = ("package", "files", "exclude", "drop")
_STRINGS = ("hub", "config", "split", "read", "format", "field", "prompt")
#: Keys that mean something for rows only.
_OF_ROWS = ("split", "format", "columns", "field", "where")


def _glob(folders: Iterable[Path], pattern: str) -> list[Path]:
    # An absolute pattern is the user's own choice of files; pathlib's glob only takes relative ones.
    anchor = Path(pattern).anchor
    with reading("a glob of files", repr(pattern), ConfigError):
        relative = str(Path(pattern).relative_to(anchor))
        return [path for folder in folders for path in Path(anchor or folder).glob(relative)]


def _string(table: Mapping[str, Any], key: str, said: str) -> str:
    if not isinstance(table[key], str):
        raise ConfigError(f"{said}: `{key}` must be a string, got {table[key]!r}")
    return str(table[key])


def _strings(table: Mapping[str, Any], key: str, said: str) -> tuple[str, ...]:
    value = [table[key]] if isinstance(table[key], str) else table[key]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{said}: `{key}` must be a string or a list of strings, got {table[key]!r}")
    return tuple(value)


def _chat(value: Any, said: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{said}: `chat` must be true or false, got {value!r:.60}")
    return value


def _share(value: Any, said: str) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(v) in {int, float} for v in value)
    if not numbers or not 0 <= value[0] < value[1] <= 1:
        raise ConfigError(f"{said}: `share` must be [from, to] with 0 ≤ from < to ≤ 1, got {value!r}")
    return float(value[0]), float(value[1])


def _columns(value: Any, said: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise ConfigError(
            f"{said}: `columns` must say what columns are called, as in "
            f'{{ prompt = "question" }}, got {value!r:.80}'
        )
    return value


def _where(value: Any, said: str) -> Mapping[str, list[Any]]:
    wanted = f'{said}: `where` must give columns a value or a list of values, as in {{ language = "de" }}'
    if not isinstance(value, dict):
        raise ConfigError(f"{wanted}, got {value!r:.80}")
    several = {column: cells if isinstance(cells, list) else [cells] for column, cells in value.items()}
    for column, cells in several.items():
        if not cells or not all(isinstance(cell, str | int | float | bool) for cell in cells):
            raise ConfigError(f"{wanted}, got {column} = {cells!r:.80}")
    return several


def _letters(value: Any, said: str) -> tuple[int, int]:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)
    if not numbers or not 1 <= value[0] <= value[1]:
        raise ConfigError(f"{said}: `letters` must be [fewest, most], whole numbers ≥ 1, got {value!r:.60}")
    return value[0], value[1]


#: Keys with a form of their own.
_PARSED = {"chat": _chat, "letters": _letters, "share": _share, "columns": _columns, "where": _where}
