"""What a search is asked for, and what it knows of scores, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from m2m.mixture import MergingWeights
from m2m.scoring.means import Mode
from m2m.scoring.models import Experts
from m2m.scoring.tasks import TaskOptions
from m2m.searching import Limit, MixtureList
from m2m.setups.protocol import Split
from m2m.support.arrays import Floats
from m2m.support.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked for, as `m2m.search` has it; scores come from `run`, or from `base` and `experts`."""

    run: Path | None = None
    base: Path | None = None
    experts: Experts | None = None
    tasks: Sequence[str] = ()
    model: str | None = None
    setup: str | Path | None = None
    targets: Sequence[str] = ()
    split: Split = "validation"
    context: int | None = None
    options: TaskOptions | None = None
    mode: Mode = "resident"
    memory: int | str | None = None
    device: str = "cpu"
    threads: int | None = None
    metric: str | None = None
    weigh: Mapping[str, float] = field(default_factory=dict)
    keep: Sequence[Limit] = ()
    out: Path | None = None
    strict: bool = False
    executor: str = "local"
    workers: int | None = None
    progress: Progress | None = None


@dataclass(frozen=True)
class Source:
    """Scores of mixtures.

    Attributes:
        datasets: The N dataset names.
        higher_is_better: Direction by task.
        metrics: The metric that counts, by task.
        scores: Mixture to its score by task.
        examples: Task, mixture and example numbers to the mixture's scores on these, [e].
        counts: Number of examples by task, for those that can be scored on some of them.
        pool: The only mixtures that have scores; None if any mixture can be scored.
        prepare: Scores mixtures together that `scores` will be asked for; None where all have scores.
    """

    datasets: Sequence[str]
    higher_is_better: Mapping[str, bool]
    metrics: Mapping[str, str]
    scores: Callable[[MergingWeights], Mapping[str, float]]
    examples: Callable[[str, MergingWeights, Sequence[int]], Floats]
    counts: Mapping[str, int]
    pool: MixtureList | None = None
    prepare: Callable[[Sequence[MergingWeights]], None] | None = None
