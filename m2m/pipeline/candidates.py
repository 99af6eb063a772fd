"""Which mixtures are merged and scored: every subset, or what a search asks for where those are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from m2m.mixture import MergingWeights, Mixture
from m2m.pipeline.steps import RunSteps
from m2m.pipeline.worker import Task
from m2m.scoring import Bench, ScoreSource, verified_models
from m2m.searching import Objective, Subsets, search


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

        def prepare(mixtures: Sequence[MergingWeights]) -> None:
            nonlocal known
            steps.merge([each.mixture for each in mixtures], tasks, step, source)
            known = scores()
            steps.progress(min(len(known), budget), budget, step)

        def value(mixture: MergingWeights) -> float:
            if mixture.label not in known:
                prepare([mixture])
            return known[mixture.label]

        prepare(steps.experts)
        objective = Objective(value, upwards(), prepare=prepare)
        result = search(objective, Subsets(steps.datasets), budget=budget, seed=steps.config.run.seed)
    steps.progress(budget, budget, step)
    return [evaluation.mixture.mixture for evaluation in result.trajectory]


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
