"""The one source of scores: merges candidates of a base model's experts, and scores them on tasks.

Whoever wants scores of merged models has them from here: `m2m score`, its race, searches, runs and studies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from m2m.errors import InputError
from m2m.mixture import MergingWeights
from m2m.scoring.bench import Bench
from m2m.scoring.choice import Choice, choose
from m2m.scoring.heap import keeping_memory
from m2m.scoring.live.device import device_errors, free_bytes
from m2m.scoring.live.live_model import LiveModel, checked_weights
from m2m.scoring.live.mapped import check_mapped, mapped_state
from m2m.scoring.live.resident import walk
from m2m.scoring.live.stacked import StackedWalk
from m2m.scoring.live.staging import moved_state
from m2m.scoring.means import Means
from m2m.scoring.models import Models
from m2m.scoring.streamed import Counts, StreamedWalk
from m2m.scoring.tasks.scorer import Scorer, Scores
from m2m.support.arrays import Floats
from m2m.support.progress import Progress, nobody

Scored = tuple[int, list[Scores]]
Weights = TypeVar("Weights", bound=MergingWeights)


class ScoreSource:
    """Scores of candidates merged of one base model's experts; what was opened stays open between rounds.

    Use it in a `with` statement, inside that of its models: leaving it gives back the memory it kept.

    Attributes:
        choice: How the last candidates were scored, and why so.
        counts: What streamed passes took so far; None if there was none.
    """

    def __init__(
        self, models: Models, bench: Bench, means: Means | None = None, progress: Progress = nobody
    ) -> None:
        self.models, self.bench, self.means = models, bench, means or Means()
        self.choice = Choice("none", "every score was there already")
        self.counts: Counts | None = None
        self._progress = progress
        self._live: LiveModel | None = None
        #: What is summed: the experts, and once weights do not sum to one the base model before them.
        self._merged = models
        self._kept = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live = None
        self._kept.close()

    def scores(
        self, mixtures: Sequence[Weights], scorers: Sequence[Scorer] | None = None
    ) -> Iterator[tuple[Weights, list[Scores]]]:
        """Score the merged models of mixtures, or of other weights, over the experts' names, in one walk.

        All is checked at the call. Mixtures come in their order, unless they are streamed. Weights that do
        not sum to one make θ₀ + Σ α_n (θ_n − θ₀), with the bits of a merge of task vectors.

        Args:
            mixtures: The candidates. [M]
            scorers: The tasks; the bench's if None.

        Returns:
            Walks over mixtures and their scores, one `Scores` a task.

        Raises:
            ConfigError: If there is no way to score them with what may be used.
            InputError: If models, tasks and each other do not fit; on the way: if scores are not proper, or a
                file changes; names the candidate.
        """  # noqa: DOC502 - raised by what is called
        if not mixtures:
            return iter(())
        labels, weights = [mixture.label for mixture in mixtures], np.array([m.weights for m in mixtures])
        scored = self.walk(
            weights, labels, self.bench.scorers if scorers is None else scorers,
            [mixture.base_weight for mixture in mixtures],
        )  # fmt: skip
        return ((mixtures[m], found) for m, found in scored)

    def walk(
        self,
        weights: ArrayLike,
        labels: Sequence[str],
        scorers: Sequence[Scorer],
        beside: Sequence[float] | None = None,
    ) -> Iterator[Scored]:
        """Score sums of experts by any weights, as `scores` does: (candidate, one `Scores` a task).

        Args:
            weights: A row a candidate. [M, N]
            labels: What messages call the candidates. [M]
            scorers: The tasks.
            beside: The base model's weights in the sums; None: it has none. [M]

        Returns:
            The walk.
        """
        matrix = self._with_base(checked_weights(weights, len(self.models.experts)), beside)
        models, means = self._merged, self.means
        choice = choose(models, scorers, len(matrix), means, self._memory)
        if choice.mode == "streamed":
            streamed = StreamedWalk(
                self.bench.build_empty, models.base, [*models.experts.values()], matrix, scorers,
                memory=self._memory, threads=means.threads, progress=self._progress, spill=means.spill,
                passes=means.passes, names=labels, layout=self.bench.layout,
            )  # fmt: skip
            self.choice = choice
            return self._counted(streamed)
        scored: Iterator[Scored]
        with device_errors(means.device):
            live = self._open(choice)
            if choice.mode == "stacked":
                scored = stacked = StackedWalk(live, matrix, scorers, None, means.threads)
                choice = Choice("stacked" if stacked.chunk > 1 else "resident", stacked.why)
            else:
                scored = walk(live, matrix, scorers, means.threads, choice.ahead)
        self.choice = choice
        return self._named(scored, labels)

    def _with_base(self, matrix: Floats, beside: Sequence[float] | None) -> Floats:
        # Once the base model has a weight it stays among what is summed: weight 0 changes no bit.
        column = np.zeros(len(matrix)) if beside is None else np.array(beside)
        if column.any() and not self._merged.base_first:
            self._merged, self._live = self.models.with_base(), None
        return np.column_stack([column, matrix]) if self._merged.base_first else matrix

    @cached_property
    def _memory(self) -> int:
        # Asked for once: later rounds have what the first one took.
        free = self.means.memory
        return free_bytes(self.means.device) // 2 if free is None else free

    def _open(self, choice: Choice) -> LiveModel:
        if self._live is None:
            models, device = self._merged, self.means.device
            states = [mapped_state(expert) for expert in models.experts.values()]
            if choice.copied:
                states = [moved_state(state, device) for state in states]
            base, names = mapped_state(models.base), list(models.experts)
            layout = self.bench.layout()  # before weights are loaded: it says best what does not fit
            self._live = LiveModel(
                self.bench.build(), base, states, names, device, models.sums,
                layout=layout, kept=models.kept,
            )  # fmt: skip
            self._kept.enter_context(keeping_memory())
        return self._live

    def _named(self, scored: Iterator[Scored], labels: Sequence[str]) -> Iterator[Scored]:
        done, total = 0, len(labels)
        self._progress(done, total, "candidates")
        try:
            with device_errors(self.means.device):
                for each in scored:
                    check_mapped()
                    self.models.hashes.check_unchanged()
                    yield each
                    done += 1
                    self._progress(done, total, "candidates")
        except InputError as error:
            raise type(error)(f"candidate {labels[done]}: {error}") from error

    def _counted(self, streamed: StreamedWalk) -> Iterator[Scored]:
        # It names its candidates and tells its progress by itself.
        for each in streamed:
            self.models.hashes.check_unchanged()
            yield each
        self.counts = streamed.counts + (self.counts or Counts())
