"""`m2m search --race`: mixtures are scored only as far as they can still be the best."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from m2m.cli.search_source import Source
from m2m.errors import ConfigError
from m2m.scoring import RacedObjective
from m2m.searching import Objective


@dataclass(frozen=True)
class Race:
    """A race under a search.

    Attributes:
        raced: What scores the mixtures, and counts.
        examples: Number of examples E of the task.
        higher_is_better: The score's direction.
    """

    raced: RacedObjective
    examples: int
    higher_is_better: bool

    @property
    def objective(self) -> Objective:
        """What the search sees: estimates with their standard errors."""
        return Objective(
            self.raced, self.higher_is_better, lambda mixture: self.raced.estimate(mixture).standard_error
        )

    @property
    def all_evaluations(self) -> int:
        """Example evaluations that scoring the same mixtures in full would take."""
        return self.examples * len(self.raced.estimates)


def open_race(source: Source, tasks: list[str], seed: int) -> Race:
    """Prepare a race.

    Args:
        source: Where scores come from.
        tasks: What the search is about.
        seed: Decides the order of the examples.

    Returns:
        The race.

    Raises:
        ConfigError: If there are several tasks, or the task cannot be scored on some of its examples.
    """
    if len(tasks) > 1:
        raise ConfigError(
            f"--race compares mixtures on the examples of one task, got {tasks}: leave out --weigh and --keep"
        )
    [task] = tasks
    if task not in source.counts:
        raise ConfigError(
            f"--race needs a task that can be scored on some of its examples; {task} gives all at once"
        )
    upwards = source.higher_is_better[task]
    raced = RacedObjective(
        partial(source.examples, task), source.counts[task], higher_is_better=upwards, seed=seed
    )
    return Race(raced, source.counts[task], upwards)
