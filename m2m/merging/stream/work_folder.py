"""Where a merge works until it is complete: a locked folder beside the output, with a journal to resume from.

`OUT` is made by one rename of `.OUT.merging/result` at the very end: whatever stands under its name is
complete. A folder that nothing can be renamed to, as a volume mounted there, is worked in, and filled by
renames of its files, the manifest last.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.checkpoint.folder import must_fill, publish
from m2m.checkpoint.identity import ROW_LENGTH, InputFiles
from m2m.errors import RunFolderError
from m2m.support.files import naming, write_atomically
from m2m.support.outputs import MERGING

#: Where the next byte goes: number of the tensor in the plan, and of its element.
Position = tuple[int, int]
START: Position = (0, 0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkFolder:
    """A merge's own folder, locked while it is open."""

    #: The folder that will appear at the end.
    out: Path
    #: The folder that is worked in.
    root: Path

    @property
    def result(self) -> Path:
        """What becomes `out`."""
        return self.root / "result"

    @property
    def _journal(self) -> Path:
        return self.root / "journal.json"

    @property
    def _inputs(self) -> Path:
        return self.root / "inputs.json"

    @property
    def statistics(self) -> Path:
        """Where statistics are noted while they are gathered."""
        return self.root / "statistics.jsonl"

    def begin(self, key: str, inputs: InputFiles, *, resume: bool) -> Position:
        """Where to go on from an earlier run of the same plan; or clear away what it left, to start over."""
        # RunFolderError if what is there comes from another plan; CheckpointError if an input has changed
        # since.
        position = self._written_to(key, inputs) if resume else START
        if position == START:
            for path in self.root.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            write_atomically(self._inputs, json.dumps(inputs.to_table()))
        self.result.mkdir(exist_ok=True)
        return position

    def _written_to(self, key: str, inputs: InputFiles) -> Position:
        try:
            journal = json.loads(self._journal.read_bytes())
            plan, boot, *written = (journal[field] for field in ("plan", "boot", "tensor", "element"))
            tensor, element = map(int, written)
        except (OSError, ValueError, KeyError, TypeError):
            return START
        known = self._read_inputs()
        if known is None:
            _log.warning("%s: does not tell the inputs it was begun with; the merge starts over", self.root)
            return START
        if plan != key:
            raise RunFolderError(
                f"{self.root}: holds an unfinished merge of another recipe, other inputs or options; run "
                "without resume to start over"
            )
        # What was written survives the death of the process, but not of the machine: it may not be on disk.
        position = (tensor, element) if boot == _boot_id() else START
        if position != START:
            inputs.check_against(known)
        return position

    def _read_inputs(self) -> dict[str, list[Any]] | None:
        # None where there are none, as before m2m noted them.
        try:
            table = json.loads(self._inputs.read_bytes())
        except (OSError, ValueError):
            return None
        rows = table.values() if isinstance(table, dict) else [None]
        return table if all(isinstance(row, list) and len(row) == ROW_LENGTH for row in rows) else None

    def note(self, key: str, position: Position) -> None:
        """Write down that everything before a position of the plan with this key is written."""
        journal = {"plan": key, "boot": _boot_id(), "tensor": position[0], "element": position[1]}
        write_atomically(self._journal, json.dumps(journal), durable=False)

    def finish(self, *, durable: bool) -> None:
        """Put the complete result in place, forced to the disk if `durable`, and remove the rest."""
        publish(self.result, self.out, durable=durable)
        self.discard()

    def forget_if_empty(self) -> None:
        """Remove the folder if nothing is in it: it was made for a merge that could not begin."""
        if not any(self.root.iterdir()):
            self.root.rmdir()

    def discard(self) -> None:
        """Remove the folder and everything in it; what cannot be removed is told."""
        try:
            shutil.rmtree(self.root)
        except OSError as error:
            _log.warning("%s: cannot be removed: %s", self.root, error.strerror)


def work_folder(out: Path) -> Path:
    """The folder beside `out` where a merge works; in it, if it is there and nothing can take its place."""
    return out / MERGING if must_fill(out) else out.parent / f".{out.name}{MERGING}"


@contextmanager
def open_work_folder(out: Path) -> Iterator[WorkFolder]:
    """Open and lock the folder in which `out` is made; what an interrupted run left in it stays."""
    # RunFolderError if another merge is making the same folder; OSError names a file, or `out`.
    root = work_folder(out)
    with naming(out):  # a write does not say to what
        root.mkdir(parents=True, exist_ok=True)
        with _locked(out, root):
            yield WorkFolder(out, root)


@contextmanager
def _locked(out: Path, root: Path) -> Iterator[None]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(f"{out}: another merge is writing it") from error
        # Whoever held the lock may have finished and removed the folder that we had opened.
        if not root.exists() or os.fstat(descriptor).st_ino != root.stat().st_ino:
            raise RunFolderError(f"{out}: another merge has just finished writing it")
        yield
    finally:
        os.close(descriptor)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
