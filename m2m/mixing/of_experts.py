"""MergeMix on experts that were trained elsewhere: the search, and nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from m2m.errors import InputError
from m2m.mixing.anchored import standing_for
from m2m.mixing.problem import Problem
from m2m.mixing.procedure import MixSearch
from m2m.mixing.result import MixResult
from m2m.mixing.surface import WeightedTarget
from m2m.mixture import Mixture
from m2m.pipeline.mix_options import MixOptions
from m2m.scoring import Means, open_models
from m2m.scoring.bench import Bench
from m2m.scoring.kept_scores import KeptScores
from m2m.scoring.models import Experts
from m2m.scoring.spread import Crowd
from m2m.support.arrays import Floats
from m2m.support.devices import one_thread
from m2m.support.progress import Progress, nobody, timed


def mix_experts(
    base: str | Path,
    experts: Experts,
    bench: Callable[[], Bench],
    out: Path,
    options: MixOptions,
    *,
    where: str = "",
    seed: int = 0,
    means: Means | None = None,
    strict: bool = False,
    executor: str = "local",
    workers: int | None = None,
    progress: Progress | None = None,
) -> MixResult:
    """Find the best shares of the datasets that experts were trained on (MergeMix, arXiv 2601.17858, Sec. 3).

    Merged scores are kept in `out`, so a killed search goes on where it was.

    Args:
        base: Checkpoint of the base model θ₀.
        experts: The experts' checkpoints or adapters, by name; or only paths. [N]
        bench: Makes the module and the tasks; a mixture is chosen for the tasks' headline metrics.
        out: Folder of the results; made if need be.
        options: How to search; `capabilities` are weights by task.
        where: Where the options were read, for messages.
        seed: Decides all random choices.
        means: In which way candidates are scored, and with what.
        strict: Whether what makes an average of the experts doubtful is an error; a warning where not.
        executor: Where candidates are scored: `local`, `ray` or `ray://HOST:PORT`.
        workers: Worker processes; None: this process, or all that a Ray cluster has.
        progress: Called with (done, total, step).

    Returns:
        What was found; also written.

    Raises:
        ConfigError: If options, experts and tasks do not go together.
    """  # noqa: DOC502 - raised by what is called
    told = progress or nobody
    with open_models(base, experts, strict=strict) as models, one_thread():
        made = bench()
        try:
            problem = Problem.of_experts([*models.experts], made.scorers, options, seed)
        except InputError as error:
            raise type(error)(f"{where}: {error}" if where else str(error)) from error
        out.mkdir(parents=True, exist_ok=True)
        crowd = Crowd(executor, workers, base, experts, bench)
        with crowd.source(models, made, means or Means(), told) as source:
            kept = KeptScores(source, out / "scores.sqlite")
            scores = _ExpertScores(kept, problem.targets, options.anchor)
            search = MixSearch(problem, options, seed, scores, told)
            found = search.find(out, identity=scores.kept.identity)
    result = replace(found, seconds=scores.seconds)
    result.write()
    return result


class _ExpertScores:
    def __init__(self, kept: KeptScores, targets: Sequence[WeightedTarget], anchor: float) -> None:
        self.kept, self._targets, self._anchor = kept, targets, anchor
        self.seconds: dict[str, float] = {}

    def timed(self, step: str) -> AbstractContextManager[None]:
        return timed(self.seconds, step)

    def merged_scores(self, mixtures: Sequence[Mixture], step: str) -> dict[str, Floats]:
        weights = [standing_for(mixture, self._anchor) for mixture in mixtures]
        self.kept.prepare(weights)
        return {
            target.name: np.stack(
                [self.kept.row(one, target.name, target.metric).examples for one in weights]
            )
            for target in self._targets
        }

    def base_score(self, target: WeightedTarget) -> float:
        return self.kept.base_row(target.name, target.metric).value
