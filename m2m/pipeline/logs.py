"""A run told to whoever keeps logs: what its folder has got since the last look.

A run is not hooked into. Its folder holds all that is worth telling, losses as models are done and scores as
they are made; so a log follows the folder, and a run that was killed is told on from where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from m2m.errors import RunFolderError
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable
from m2m.support.doors import read_json, read_toml
from m2m.support.files import write_atomically
from m2m.support.loss_curves import read_curves
from m2m.support.progress import Progress, say
from m2m.support.schema import flat

#: Seconds between two looks at the folder.
EVERY = 15.0
#: What is kept of a log in the run folder: its own name of the run, and what it was told.
_KEPT = {"run": (NoneType, str), "curves": [str], "scores": int}


class RunLog:
    """What may be told of a run; a log of one's own overrides what it wants to hear.

    Attributes:
        name: What it is called; what it was told is kept in the run folder under this name.
    """

    name = "own"

    def begin(self, folder: Path, config: Mapping[str, Any], run: str | None) -> str | None:
        """Begin, or go on with what was begun before.

        Args:
            folder: The run folder.
            config: Its configuration, value by key as in `train.steps`.
            run: What `begin` returned for this folder before; None the first time.

        Returns:
            What to go on by the next time; None if nothing is needed for that.
        """
        return None

    def losses(self, training: str, steps: Sequence[int], losses: Sequence[float]) -> None:
        """Hear the losses of a training that is done, `experts/law/seed0`."""

    def score(self, place: int, row: Mapping[str, Any]) -> None:
        """Hear the `place`-th score of the run: a row of `scores.csv`, value by column."""

    def end(self, results: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Hear the results of a run that has finished, and the files worth keeping."""

    def close(self) -> None:
        """Let go: after `end`, or where the run was interrupted."""


@dataclass
class _Told:
    """A log, and what it was told so far."""

    log: RunLog
    path: Path
    run: str | None = None
    curves: list[str] = field(default_factory=list)
    scores: int = 0

    def begin(self, folder: RunFolder) -> None:
        if self.path.exists():
            kept = read_json(self.path, "what a log was told", RunFolderError, _KEPT)
            self.run, self.curves, self.scores = kept["run"], kept["curves"], kept["scores"]
        config = dict(flat(read_toml(folder.config, "a run's configuration", RunFolderError)))
        self.run = self.log.begin(folder.root, config, self.run)
        self.path.parent.mkdir(exist_ok=True)
        self.keep()

    def tell(self, folder: RunFolder) -> None:
        for room in ("experts", "mixtures"):
            for curve in read_curves(folder.root / room, self.curves):
                self.log.losses(curve.name, curve.steps, curve.losses)
                self.curves.append(curve.name)
        if folder.table.exists():
            with ScoreTable(folder.table, read_only=True) as table:
                rows = table.written(self.scores)
            for row in rows:
                self.log.score(self.scores, row)
                self.scores += 1
        self.keep()

    def keep(self) -> None:
        kept = {"run": self.run, "curves": self.curves, "scores": self.scores}
        write_atomically(self.path, json.dumps(kept, ensure_ascii=False) + "\n")


class Follower:
    """Tells logs what a run folder has got; stands in the place of the run's progress callback.

    What fails in a log is said, and ends that log and never the run.

    Args:
        logs: The logs.
        root: The run folder.
        told: The progress callback that it stands in the place of.
    """

    def __init__(self, logs: Sequence[RunLog], root: Path, told: Progress) -> None:
        self._folder, self._progress = RunFolder(root), told
        self._logs = [_Told(log, self._folder.logs / f"{log.name}.json") for log in logs]
        self._begun = False
        self._looked = time.monotonic()
        self.notes: list[str] = []

    def __call__(self, done: int, total: int, what: str) -> None:
        """Tell of progress, and look at the folder now and then."""
        self._progress(done, total, what)
        if time.monotonic() - self._looked >= EVERY and self._folder.identity.exists():
            self.look()

    def say(self, lines: Sequence[str]) -> None:
        """Show lines to whoever shows more than how far the work is."""
        say(self._progress, lines)

    def look(self) -> None:
        """Tell each log what is new."""
        if not self._begun:
            self._each(lambda told: told.begin(self._folder))
            self._begun = True
        self._each(lambda told: told.tell(self._folder))
        self._looked = time.monotonic()

    def end(self, files: Sequence[Path]) -> None:
        """Tell each log the rest, and the results."""
        self.look()
        results = self._folder.read_results()
        self._each(lambda told: told.log.end(results, files))

    def close(self) -> None:
        """Let the logs go."""
        self._each(lambda told: told.log.close())

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _each(self, act: Callable[[_Told], None]) -> None:
        for told in list(self._logs):
            try:
                act(told)
            except Exception as error:  # whatever a library or a user's code throws
                self._logs.remove(told)
                note = f"logging to {told.log.name} stopped, and the run goes on: {error}"
                self.notes.append(note)
