"""What others published, read as they lay it out: merged (or smaller) models' scores beside trained ones'.

Each file is one layout; nothing of anybody's data comes with m2m.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from analysis.fidelity.published import berasi, demix, swarm
from analysis.fidelity.scores import Points


class Layout(NamedTuple):
    """One way in which scores are published.

    Attributes:
        words: What it is, for people.
        merged: What `--merged` names; empty: nothing must be named.
        trained: The same of `--trained`.
        read: Reads a source with these two; raises InputError.
    """

    words: str
    merged: str
    trained: str
    read: Callable[[Path, str | None, str | None, bool], list[Points]]


_SWARM = "a table of mixtures, and two tables of scores"
#: Layouts by the name of their authors' work.
LAYOUTS = {
    "regmix": Layout(_SWARM, "TABLE.csv", "TABLE.csv", swarm.read),
    "olmix": Layout(_SWARM, "metrics.csv", "metrics.csv", swarm.read),
    "demix": Layout("sampled mixtures (JSON), and two folders of evaluations", "DIR", "DIR", demix.read),
    "berasi": Layout("a folder of evaluations (eval_bench/EXPERIMENT)", "", "", berasi.read),
}
