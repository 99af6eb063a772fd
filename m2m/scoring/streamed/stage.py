"""What is scored block by block: a hollow module, the batches that pass through it, and their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import torch
from torch import Tensor, nn

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.layout import Layout
from m2m.errors import InputError
from m2m.scoring.streamed.forward import Forward
from m2m.scoring.streamed.plan import Needs
from m2m.scoring.streamed.rehearsal import MeasuredActivations, rehearse
from m2m.scoring.streamed.spill_file import SpillFile
from m2m.scoring.streamed.weights import Weight, Weights, build_hollow
from m2m.scoring.tasks.scorer import (
    BatchedScorer,
    Scorer,
    Scores,
    TaskBatch,
    checked_scores,
    joined,
    output_of,
)


class Stage:
    """The module without memory for its weights, the tasks' batches, and the results so far."""

    def __init__(
        self,
        build: Callable[[], nn.Module],
        layout: Callable[[], Layout | None],
        models: Sequence[Checkpoint],
        scorers: Sequence[Scorer],
    ) -> None:
        """Build the module of `models`, the base and its experts, without memory for its weights."""
        self._tasks = [_in_batches(scorer) for scorer in scorers]
        hollow = build_hollow(build, layout)
        self._model = hollow.module
        self.weights = Weights(hollow, models[0], models[1:])
        self._batches = [
            (number, batch) for number, task in enumerate(self._tasks) for batch in task.batches()
        ]
        self._results: dict[int, dict[int, Mapping[str, Tensor]]] = {}

    @property
    def batches(self) -> int:
        """Number of batches of all tasks."""
        return len(self._batches)

    def rehearse(self, spill: SpillFile, check: Callable[[frozenset[Weight]], None]) -> Needs:
        """Rehearse each task with its largest batch; `check` refuses weights that are too large."""
        seen, activations = Needs(), MeasuredActivations(spill)
        for number in range(len(self._tasks)):
            largest = max(self._places(number), key=lambda place: _elements(self._batches[place][1]))
            with torch.inference_mode(), closing(self.forward(0, largest)) as forward:
                rehearse(seen, forward, self.weights, activations, check)
        return seen

    def forward(self, candidate: int, place: int) -> Forward:
        """Prepare a candidate's pass of a batch through the network, both by number; nothing runs yet."""
        number, batch = self._batches[place]
        task = self._tasks[number]

        def work() -> Mapping[str, Tensor]:
            return task.judge(output_of(self._model, batch, task.task), batch)

        return Forward(candidate, place, work)

    def keep(self, forward: Forward) -> bool:
        """Keep the result of a forward pass; returns whether it was the last of its candidate's."""
        found = self._results.setdefault(forward.candidate, {})
        found[forward.place] = forward.result
        return len(found) == self.batches

    def scores(self, candidate: int) -> list[Scores]:
        """Join a candidate's results, one `Scores` a task, checked to be finite, and forget them."""
        found = self._results.pop(candidate)
        return [checked_scores(task, self._joined(found, number)) for number, task in enumerate(self._tasks)]

    def _joined(self, found: Mapping[int, Mapping[str, Tensor]], number: int) -> Scores:
        return joined(self._tasks[number].task, [found[place] for place in self._places(number)])

    def _places(self, number: int) -> list[int]:
        return [place for place, (task, _) in enumerate(self._batches) if task == number]


def _in_batches(scorer: Scorer) -> BatchedScorer:
    if not isinstance(scorer, BatchedScorer):
        raise InputError(
            f"task {scorer.task} ({scorer.split}): streamed scoring needs a task that comes in batches "
            f"(BatchedScorer), got {type(scorer).__name__}; use the resident mode"
        )
    return scorer


def _elements(batch: TaskBatch) -> int:
    return sum(tensor.numel() for tensor in batch.inputs.values())
