"""Trainings that judge a run's pick, a few at a time; each is noted before it is paid: runs resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.errors import MixtureError, RunFolderError
from m2m.mixture import Mixture
from m2m.pipeline.advice import Adviser, Evidence, Known, Training
from m2m.pipeline.steps import RunSteps
from m2m.pipeline.worker import Task
from m2m.support.content_keys import content_key
from m2m.support.doors import read_json
from m2m.support.files import write_atomically

#: ε of "within ε of the best" where the configuration does not say `until`.
TOLERANCE = 0.05
#: What the file says.
_SHAPE = {"candidates": str, "trainings": [{"mixture": [str], "purpose": str, "free": bool}]}


@dataclass(frozen=True)
class Notes:
    """The file of what was trained on advice, in order."""

    path: Path
    #: What is chosen from; notes about others are void, as a sample of other mixtures is none of these.
    candidates: Sequence[Mixture]

    def read(self) -> list[Training]:
        """Read what was advised so far."""
        if not self.path.exists():
            return []
        content = read_json(self.path, "what a run noted of its trainings", RunFolderError, _SHAPE)
        if content["candidates"] != self._key:
            return []
        datasets = self.candidates[0].datasets
        try:
            return [
                Training(Mixture.subset(datasets, one["mixture"]), one["purpose"], one["free"])
                for one in content["trainings"]
            ]
        except MixtureError as error:
            raise RunFolderError(f"{self.path}: {error}") from None

    def write(self, trainings: Sequence[Training]) -> None:
        """Replace them in one step."""
        content = {"candidates": self._key, "trainings": trainings_to_json(trainings)}
        write_atomically(self.path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @property
    def _key(self) -> str:
        return content_key(sorted(mixture.key for mixture in self.candidates))


def trainings_to_json(trainings: Sequence[Training]) -> list[dict[str, object]]:
    """Lay trainings out for JSON."""
    return [
        {"mixture": list(one.mixture.members), "purpose": one.purpose, "free": one.free} for one in trainings
    ]


@dataclass(frozen=True)
class Validation:
    """Trainings on advice, until enough are made.

    Attributes:
        steps: The run's steps.
        adviser: Who says what to train.
        evidence: Returns the scores so far, by target.
        candidates: The mixtures that are chosen from.
        given: Mixtures that were drawn by chance beforehand, and are trained.
        tasks: What trained models are scored on.
    """

    steps: RunSteps
    adviser: Adviser
    evidence: Callable[[], list[Evidence]]
    candidates: Sequence[Mixture]
    given: Sequence[Mixture]
    tasks: tuple[Task, ...]

    def judged(self) -> dict[str, Any]:
        """Train what was noted before, then what is advised; return `trust` of `results.json`."""
        made, stopped = self._trained()
        with self._telling("how far the pick can be trusted"):
            said = self.adviser.judge(self._known(made))
        given = [Training(mixture, "random", free=True) for mixture in self.given]
        return {"stopped": stopped, "trainings": trainings_to_json([*given, *made]), **said}

    def _trained(self) -> tuple[list[Training], str]:
        """Train, and return it all with why no more was trained."""
        run, notes = self.steps.config.run, Notes(self.steps.folder.validation, self.candidates)
        made = notes.read()
        while True:
            self._make(made)
            left = None if run.most_trainings is None else max(run.most_trainings - paid(made), 0)
            if left == 0 and run.stop is None:
                return made, f"{paid(made)} were asked for"
            with self._telling("what to train next"):
                advice = self.adviser.next(self._known(made), left)
            if run.stop is not None and (advice.probability or 0.0) > run.stop.probability:
                return made, f"{run.until} holds"
            if left == 0:
                return made, f"{paid(made)} were asked for at most, and {run.until} does not hold yet"
            made += advice.trainings
            notes.write(made)
            if not paid(advice.trainings):
                return made, advice.reason or "every mixture is trained"

    def _known(self, made: Sequence[Training]) -> Known:
        run = self.steps.config.run
        tolerance = TOLERANCE if run.stop is None else run.stop.tolerance
        return Known(self.evidence(), self.given, made, tolerance, run.seed)

    def _make(self, made: Sequence[Training]) -> None:
        run = self.steps.config.run
        most = "" if run.most_trainings is None else f" of {max(run.most_trainings, paid(made))}"
        mixtures = [one.mixture for one in made]
        self.steps.train(mixtures, [run.seed], self.tasks, f"validating, up to {paid(made)}{most} trainings")

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        self.steps.progress(0, 1, what)
        yield
        self.steps.progress(1, 1, what)


def paid(trainings: Sequence[Training]) -> int:
    """Return how many of them were not free."""
    return sum(not one.free for one in trainings)
