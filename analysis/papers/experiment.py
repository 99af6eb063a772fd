"""What an experiment is, where it works, and how what it found is kept: by what it was made from."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import pandas as pd

import m2m
from analysis.results import versions, write_results
from m2m.executors.protocol import Executor
from m2m.support.content_keys import Part, content_key
from m2m.support.doors import read_json
from m2m.support.progress import Progress

#: How long experiments may take: half an hour of two cores, or a night.
Size = Literal["fast", "full"]
#: The file of an experiment's folder that is written last: with it, all is there.
RESULT = "result"
_SHAPE = {"key": str}


@dataclass(frozen=True)
class Place:
    """Where one experiment works.

    Attributes:
        work: Folder of its runs and models, which stay, so that what was interrupted goes on there.
        results: Folder of what it found.
        executor: Where it trains and merges.
        progress: Called with (done, total, what).
    """

    work: Path
    results: Path
    executor: Executor
    progress: Progress


class Found(NamedTuple):
    """What an experiment found: `result.json`, and tables `result_NAME.csv` by name."""

    content: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame] = MappingProxyType({})


class Experiment(Protocol):
    """One thing that is done for the page of results, at two sizes, through the public functions of m2m."""

    @property
    def name(self) -> str:
        """Name of its folders; figures and tables ask for its results by it."""

    @property
    def models(self) -> str:
        """Name of the experiment whose run it works in, perhaps its own; no two at a time work in one run."""

    @property
    def minutes(self) -> Mapping[Size, float]:
        """About how long it takes on an idle core."""

    def made_from(self, size: Size) -> Part:
        """Return all that decides what it finds, but for the code: configuration, sizes, seeds."""

    def measure(self, place: Place, size: Size) -> Found:
        """Do it, going on where it was interrupted.

        Args:
            place: Where to work; what studies write themselves goes into `place.results`.
            size: How large.

        Returns:
            What was found; `sizes` of its content says how large it was, for the page.
        """


def key_of(experiment: Experiment, size: Size) -> str:
    """Return the content key of an experiment's results: what it is made from, and the code that makes it."""
    return content_key(experiment.name, size, experiment.made_from(size), _code())


def is_kept(folder: Path, key: str) -> bool:
    """Say whether a folder has the results of this key."""
    path = folder / f"{RESULT}.json"
    return path.exists() and read_json(path, "the result of an experiment", shape=_SHAPE)["key"] == key


def finish(experiment: Experiment, place: Place, size: Size) -> float:
    """Do an experiment and write its `result.json`, which marks the folder as finished.

    Args:
        experiment: What to do.
        place: Where.
        size: How large.

    Returns:
        Seconds that it took, of this call alone.
    """
    key, began = key_of(experiment, size), time.monotonic()
    place.results.mkdir(parents=True, exist_ok=True)
    (place.results / f"{RESULT}.json").unlink(missing_ok=True)
    found = experiment.measure(place, size)
    origin = {"experiment": experiment.name, "size": size, "key": key, "versions": versions()}
    write_results(place.results, RESULT, {**found.content, **origin}, found.tables)
    return time.monotonic() - began


@cache
def _code() -> str:
    """Hash the source of m2m and of the analyses, and the compiled module."""
    roots = [Path(str(m2m.__file__)).parent, Path(__file__).parents[1]]
    files = [path for root in roots for kind in ("*.py", "_core*") for path in sorted(root.rglob(kind))]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
