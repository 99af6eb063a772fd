"""Which mixtures are merged and scored: every subset, or what a search asks for where those are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.pipeline.config import RunConfig
from m2m.pipeline.steps import RunSteps
from m2m.pipeline.worker import Task
from m2m.scoring import Bench, ScoreSource, verified_models
from m2m.searching import Objective, Subsets, search

#: Up to so many datasets every subset is scored, unless a budget says otherwise.
MOST_DATASETS = 12
#: Mixtures that a search scores at most, and at least a dataset, where no budget is given.
BUDGET, EACH = 300, 6


def search_budget(config: RunConfig, datasets: int) -> int | None:
    """Say how many mixtures are merged and scored at most.

    Args:
        config: The run configuration.
        datasets: N.

    Returns:
        The search's budget; None where every subset is scored.

    Raises:
        ConfigError: If there are fewer than two datasets, the budget leaves no mixture, or a search leaves
            mixtures that are to be trained all.
    """
    if datasets < 2:
        raise ConfigError(f"{config.path} [setup]: got {datasets} datasets; a mixture wants 2 or more")
    every, budget = 2**datasets - 1, config.run.budget
    if budget is not None and budget <= datasets:
        raise ConfigError(
            f"{config.path} [run]: `budget` must be above the {datasets} datasets, whose experts are scored "
            f"in any case, got {budget}"
        )
    if budget is None and datasets > MOST_DATASETS:
        budget = max(BUDGET, EACH * datasets)
    if budget is None or budget >= every:
        return None
    if config.run.trains_all:
        raise ConfigError(
            f"{config.path} [run]: `validate = true` trains every mixture, but a search scores {budget} of "
            f"{every}; say how many to train, as in `validate = 6`"
        )
    return budget


def searched(
    steps: RunSteps,
    tasks: Sequence[Task],
    budget: int,
    scores: Callable[[], dict[str, float]],
    upwards: Callable[[], bool],
) -> list[Mixture]:
    """Merge and score what a search asks for (`m2m.searching`, strategy `model`), in this process.

    Args:
        steps: The run's steps; its experts must have been trained.
        tasks: What merged models are scored on.
        budget: Most mixtures.
        scores: Returns what is chosen by, by label, of all that is scored; asked first when the experts are.
        upwards: Returns whether more of it is better.

    Returns:
        The mixtures, in the order in which they were tried.
    """
    known, step = dict[str, float](), "merged candidates"
    with _open_source(steps, tasks) as source:

        def prepare(mixtures: Sequence[Mixture]) -> None:
            nonlocal known
            steps.merge(mixtures, tasks, step, source)
            known = scores()
            steps.progress(min(len(known), budget), budget, step)

        def value(mixture: Mixture) -> float:
            if mixture.label not in known:
                prepare([mixture])
            return known[mixture.label]

        prepare(steps.experts)
        objective = Objective(value, upwards(), prepare=prepare)
        result = search(objective, Subsets(steps.datasets), budget=budget, seed=steps.config.run.seed)
    steps.progress(budget, budget, step)
    return [evaluation.mixture for evaluation in result.trajectory]


@contextmanager
def _open_source(steps: RunSteps, tasks: Sequence[Task]) -> Iterator[ScoreSource]:
    """Open the experts once for all rounds."""
    setup, run = steps.setup, steps.config.run
    scorers = [steps.targets.scorer(target, split) for target, split in tasks]
    experts = {mixture.members[0]: steps.folder.model(mixture, run.seed) for mixture in steps.experts}
    with (
        verified_models(steps.folder.base, experts) as models,
        ScoreSource(models, Bench(setup.build, setup.build, setup.version, scorers), steps.means) as source,
    ):
        yield source
