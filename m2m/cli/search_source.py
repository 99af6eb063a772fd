"""What `m2m search` knows of scores, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from m2m.mixture import Mixture
from m2m.searching import MixtureList
from m2m.support.arrays import Floats


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
    scores: Callable[[Mixture], Mapping[str, float]]
    examples: Callable[[str, Mixture, Sequence[int]], Floats]
    counts: Mapping[str, int]
    pool: MixtureList | None = None
    prepare: Callable[[Sequence[Mixture]], None] | None = None
