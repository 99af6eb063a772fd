"""Commands that meet a fault at their k-th file operation: the other end of `shim.c` and `zygote.py`."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MOST_CALLS = 1 << 16


class Kind(IntEnum):
    """What a file operation does."""

    OPEN_OLD = 1
    OPEN_NEW = 2
    READ = 3
    WRITE = 4
    SYNC = 5
    RENAME = 6
    RESIZE = 7
    REMOVE = 8
    MKDIR = 9
    LINK = 10
    LIST = 11
    MAP = 12
    LOCK = 13
    CLOSE = 14


class Action(IntEnum):
    """What happens to an operation."""

    COUNT = 0
    SIGNAL_BEFORE = 1
    SIGNAL_AFTER = 2
    FAIL = 3
    FALL_SHORT = 4


#: What a disk, a quota or a network answers to an operation. EINTR where the system lets it happen.
ERRORS: Mapping[Kind, Sequence[int]] = {
    Kind.OPEN_OLD: (errno.EIO, errno.EMFILE, errno.ESTALE, errno.EINTR),
    Kind.OPEN_NEW: (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.EINTR),
    Kind.READ: (errno.EIO, errno.ESTALE, errno.EINTR),
    Kind.WRITE: (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR),
    Kind.SYNC: (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    Kind.RENAME: (errno.ENOSPC, errno.EIO, errno.EROFS),
    Kind.RESIZE: (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    Kind.REMOVE: (errno.EIO, errno.EROFS),
    Kind.MKDIR: (errno.ENOSPC, errno.EROFS, errno.EDQUOT),
    Kind.LINK: (errno.ENOSPC, errno.EROFS),
    Kind.LIST: (errno.EIO, errno.EMFILE),
    Kind.MAP: (errno.ENOMEM,),
    Kind.LOCK: (errno.ENOLCK,),
}


class _Plan(ctypes.Structure):
    _fields_ = (
        ("folder", ctypes.c_char * 1024),
        ("calls", ctypes.c_long),
        ("first", ctypes.c_long),
        ("last", ctypes.c_long),
        ("action", ctypes.c_int),
        ("value", ctypes.c_int),
        ("whole_group", ctypes.c_int),
        ("met", ctypes.c_int),
        ("kinds", ctypes.c_ubyte * MOST_CALLS),
    )


@dataclass(frozen=True)
class Fault:
    """What the operations `first` to `last` meet.

    Attributes:
        action: What happens to them.
        value: The signal, or the error.
        first: The first operation, from 1 on.
        last: The last; the first alone by default.
        whole_group: Whether a signal reaches the children too, as Ctrl-C does.
    """

    action: Action
    value: int
    first: int
    last: int | None = None
    whole_group: bool = False


@dataclass(frozen=True)
class End:
    """How a command ended.

    Attributes:
        code: Its exit code, or minus the signal.
        orphans: Whether children outlived it.
        out: What it printed.
        err: What it printed to the error stream.
        kinds: The kind of every operation.
        met: How many operations met the fault.
    """

    code: int
    orphans: int
    out: str
    err: str
    kinds: list[Kind]
    met: int

    @property
    def complaints(self) -> list[str]:
        """What was said beside warnings: the scenes' models are drawn, and so far apart as of other bases."""
        beside = ("cannot be removed", "seems to stem from another base model")
        return [line for line in self.err.splitlines() if not any(words in line for words in beside)]

    @property
    def is_refusal(self) -> bool:
        """Whether it is one line that puts the blame where it belongs, and says with which file."""
        lines = self.complaints
        names_a_file = r"error: .*(\w[/.]\w|'\w+'|--out |folder \S+:)"
        return self.code == 2 and len(lines) == 1 and re.search(names_a_file, lines[0]) is not None


@dataclass
class Stage:
    """A folder in which commands run and meet faults.

    Attributes:
        folder: Where operations are counted; commands run in it.
        settings: `module:name` to a value that is set for the commands.
    """

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        room = self.folder.parent
        state = room / "faults.bin"
        with state.open("w+b") as file:
            file.truncate(ctypes.sizeof(_Plan))
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Plan))
        self._plan = _Plan.from_buffer(self._memory)
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "M2M_FILE_FAULTS": str(state),
            "LD_PRELOAD": str(compiled_shim(room)),
        }
        self._zygote = subprocess.Popen(
            [sys.executable, HERE / "zygote.py"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._zygote.stdout is not None
        assert self._zygote.stdout.readline() == "ready\n"

    def close(self) -> None:
        """End the forking process."""
        self._zygote.communicate("")

    def run(self, command: Sequence[str], fault: Fault | None = None, headroom: int | None = None) -> End:
        """Run a command to its end.

        Args:
            command: `m2m` or `m2m-analysis`, and its arguments.
            fault: What its operations meet.
            headroom: Most bytes that it may add to its address space.

        Returns:
            How it ended.
        """
        self._prepare(fault)
        return self._end_of(self._ask(self._order(command, "to the end", headroom)))

    def begin(self, command: Sequence[str], call: int) -> None:
        """Run a command until it makes a file operation, and let it stop there.

        Args:
            command: As for `run`.
            call: The operation, from 1 on.
        """
        self._prepare(Fault(Action.SIGNAL_BEFORE, signal.SIGSTOP, call))
        self._ask(self._order(command, "until it stops", None))

    def go_on(self) -> End:
        """Let the command that stopped go on to its end.

        Returns:
            How it ended.
        """
        self._prepare(None)
        return self._end_of(self._ask({"way": "go on"}))

    def _prepare(self, fault: Fault | None) -> None:
        self._plan.folder = os.fsencode(self.folder)
        self._plan.calls = self._plan.met = 0
        self._plan.action = Action.COUNT
        if fault is not None:
            self._plan.first, self._plan.last = fault.first, fault.last or fault.first
            self._plan.value, self._plan.whole_group = fault.value, fault.whole_group
            self._plan.action = fault.action

    def _order(self, command: Sequence[str], way: str, headroom: int | None) -> dict[str, Any]:
        room = self.folder.parent
        return {
            "way": way,
            "command": list(command),
            "folder": str(self.folder),
            "out": str(room / f"{way}.out"),
            "err": str(room / f"{way}.err"),
            "settings": self.settings,
            "headroom": headroom,
        }

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        answer: dict[str, Any] = json.loads(self._zygote.stdout.readline())
        return answer

    def _end_of(self, answer: dict[str, Any]) -> End:
        kinds = [Kind(kind) for kind in self._plan.kinds[: min(self._plan.calls, MOST_CALLS)]]
        return End(**answer, kinds=kinds, met=self._plan.met)


def compiled_shim(folder: Path) -> Path:
    """Compile `shim.c`; a machine without a C compiler skips."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    target = folder / "shim.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*compiler.split(), *options, HERE / "shim.c", "-o", target, "-ldl"], check=True)
    return target
