"""The SQLite file of a table of scores: opened, held to its layout, faults of file and system told apart."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from m2m.errors import InputError
from m2m.support.doors import reading, require_file

#: Says that a file is a score table, and of which layout.
APPLICATION_ID, LAYOUT = 0x6D326D73, 1
#: Seconds that a process waits for another one's write.
PATIENCE = 60.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
  key TEXT NOT NULL,               -- content key of the model
  candidate TEXT NOT NULL,         -- label for people
  members TEXT NOT NULL,           -- JSON list of dataset names
  weights TEXT NOT NULL,           -- JSON object, dataset name to weight
  origin TEXT NOT NULL,            -- base, merged or trained; `replaced merged` and so on
  seed INTEGER,                    -- training seed of a trained model
  task TEXT NOT NULL,
  split TEXT NOT NULL,
  version TEXT NOT NULL,           -- content hash of the task
  metric TEXT NOT NULL,
  higher_is_better INTEGER NOT NULL,
  value REAL NOT NULL,             -- mean of the examples' values
  count INTEGER NOT NULL,          -- number of examples
  examples BLOB NOT NULL,          -- zlib of the values, little-endian
  precision INTEGER NOT NULL,      -- bytes a value: 4 where that loses nothing, else 8
  created TEXT NOT NULL,           -- UTC, ISO 8601
  PRIMARY KEY (key, task, split, version, metric)
)
"""

#: SQLite's codes for what is wrong with the system, not with the file.
_SYSTEM = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOLFS,
}  # fmt: skip
#: What it says when we use it wrongly.
_OUR_FAULT = {
    sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_INTERRUPT
}  # fmt: skip


class TableFile:
    """A score table's file; several processes may write to it at once.

    Args:
        path: The SQLite file; made if it is not there.
        read_only: Whether it is only read: then it may also lie where nothing can be written.

    Attributes:
        path: The SQLite file.

    Raises:
        InputError: If the file is not a score table of this layout.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        if not path.parent.is_dir():
            raise InputError(f"cannot make the score table {path}: there is no folder {path.parent}")
        require_file(path, "a score table")
        try:
            self._connect(path, self._open)
        except InputError:
            if not (read_only and _is_at_rest(path)):
                raise
            self._connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", self._check_layout)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def asked(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for questions; what SQLite says against the file is an `InputError`."""
        with self._using():
            yield self._connection

    @contextmanager
    def changed(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for changes that happen all or not at all."""
        with self._using(), _transaction(self._connection):
            yield self._connection

    @property
    def columns(self) -> list[str]:
        """Names of the table's columns."""
        with self._using():
            return [name for name, _ in _columns(self._connection)]

    def _connect(self, place: Path | str, begin: Callable[[], None]) -> None:
        with self._using():
            address = isinstance(place, str)
            self._connection = sqlite3.connect(place, PATIENCE, isolation_level=None, uri=address)
        self._connection.row_factory = sqlite3.Row
        try:
            with self._using():
                begin()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with _transaction(self._connection):
            if not self._pragma("application_id") and not self._pragma("schema_version"):
                self._connection.execute(SCHEMA)
                self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._connection.execute(f"PRAGMA user_version = {LAYOUT}")
            self._check_layout()
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing; a power cut may take the last scores, which are made again. Waiting
        # for the disk after each score would take longer than scoring small models.
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def _check_layout(self) -> None:
        found = (self._pragma("application_id"), self._pragma("user_version"))
        if found != (APPLICATION_ID, LAYOUT):
            raise InputError(
                f"{self.path} is not a score table of this m2m: its SQLite application id and layout are "
                f"{found}, wanted {(APPLICATION_ID, LAYOUT)}"
            )
        [kind] = self._connection.execute(
            "SELECT type FROM sqlite_master WHERE name = 'scores'"
        ).fetchone() or [""]
        with closing(sqlite3.connect(":memory:")) as ours:
            ours.execute(SCHEMA)
            if kind != "table" or _columns(self._connection) != _columns(ours):
                raise InputError(f"{self.path} is not a score table of this m2m: it has other columns")

    @contextmanager
    def _using(self) -> Iterator[None]:
        # What SQLite says about the file is the file's fault; what it says about the system is not.
        try:
            with reading("a score table", self.path):
                yield
        except InputError as error:
            cause = error.__cause__
            code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
            if isinstance(cause, sqlite3.Error) and code in _OUR_FAULT:
                raise cause from None
            if code in _SYSTEM:
                raise InputError(f"{self.path}: the system does not read or write it: {cause}") from cause
            raise

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_at_rest(path: Path) -> bool:
    # Nobody writes it, and all that was written is in the file itself.
    beside = path.with_name(f"{path.name}-wal")
    return path.exists() and not (beside.exists() and beside.stat().st_size)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # on a full disk SQLite rolls back by itself
            connection.execute("ROLLBACK")
        raise


def _columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    # Names and declared types.
    return [(row[1], row[2]) for row in connection.execute("PRAGMA table_info(scores)")]
