"""Do experiments one after the other, each once, and say how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.papers.experiment import Experiment, Place, Size, finish, is_kept, key_of
from m2m.executors.protocol import Executor
from m2m.support.progress import Progress, say


@dataclass(frozen=True)
class Done:
    """One experiment of a call.

    Attributes:
        name: Its name.
        kept: Whether its results were there already, so that nothing was done.
        seconds: What it took, 0 if it was kept.
    """

    name: str
    kept: bool
    seconds: float


def redo(
    experiments: Sequence[Experiment], out: Path, size: Size, executor: Executor, progress: Progress
) -> list[Done]:
    """Do the experiments whose results are not there, or are of another configuration or other code.

    Args:
        experiments: What to do, in order.
        out: Folder of it all: `work/NAME` has runs and models, `results/SIZE/NAME` what was found.
        size: How large.
        executor: Where they train and merge.
        progress: Called with (done, total, what).

    Returns:
        What was done, and what was there.
    """
    places = [
        Place(out / "work" / one.name, results_folder(out, size) / one.name, executor, progress)
        for one in experiments
    ]
    keys = [key_of(one, size) for one in experiments]
    kept = [is_kept(place.results, key) for place, key in zip(places, keys, strict=True)]
    clock = _Clock(
        [0.0 if there else one.minutes[size] for one, there in zip(experiments, kept, strict=True)]
    )
    done = []
    for at, (one, place, there) in enumerate(zip(experiments, places, kept, strict=True)):
        took = 0.0
        if not there:
            say(progress, [f"experiment {at + 1} of {len(experiments)}, {one.name}: {clock.left(at)}"])
            took = finish(one, place, size)
        done.append(Done(one.name, there, took))
    return done


def results_folder(out: Path, size: Size) -> Path:
    """Return where the experiments of one size have their results, a folder each."""
    return out / "results" / size


class _Clock:
    """How long the rest takes, by the experiments' own minutes and by how long those before really took."""

    def __init__(self, minutes: Sequence[float]) -> None:
        self._minutes, self._began = minutes, time.monotonic()

    def left(self, at: int) -> str:
        """Say how long experiment `at` and those after it take."""
        before, rest = sum(self._minutes[:at]), sum(self._minutes[at:])
        slowness = (time.monotonic() - self._began) / 60 / before if before else 1.0
        return f"about {max(rest * slowness, 1):.0f} min left in all"
