"""Score candidates of models larger than memory: all go through the network together, block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from m2m.checkpoint import Checkpoint, check_same_tensors
from m2m.errors import InputError
from m2m.evaluate.batched_scorer import BatchedScorer, TaskBatch
from m2m.evaluate.live_model import checked_weights
from m2m.evaluate.mode import scoring
from m2m.evaluate.resident import checked_scores
from m2m.evaluate.scorer import Scorer, Scores
from m2m.evaluate.streamed.activations import Activations
from m2m.evaluate.streamed.blocks import cut, recurring
from m2m.evaluate.streamed.budget import check_operation, share
from m2m.evaluate.streamed.forward import Forward
from m2m.evaluate.streamed.heap import returning_memory
from m2m.evaluate.streamed.hollow import build_hollow
from m2m.evaluate.streamed.inside import MeasuredActivations
from m2m.evaluate.streamed.merger import Merger
from m2m.evaluate.streamed.rehearsal import Rehearsal, rehearse
from m2m.evaluate.streamed.spill_file import SpillFile
from m2m.evaluate.streamed.walk import Walk
from m2m.evaluate.streamed.weights import Weight, Weights
from m2m.setups.protocol import Progress


@dataclass(frozen=True)
class Streamed:
    """Scores of all candidates, and what they took.

    Attributes:
        scores: A row a candidate, a column a task. [M, tasks]
        bytes_read: Bytes read from the experts' shards.
        bytes_spilled: Bytes of activations, and of weights used in several blocks, that were written to disk.
        blocks: Blocks that were read and merged.
        passes: Passes over the experts; one unless the budget is too small for all forward passes at a time.
    """

    scores: list[list[Scores]]
    bytes_read: int
    bytes_spilled: int
    blocks: int
    passes: int


def score_streamed(
    build: Callable[[], nn.Module],
    base: Checkpoint,
    experts: Sequence[Checkpoint],
    weights: ArrayLike,
    scorers: Sequence[Scorer],
    *,
    memory: int,
    threads: int | None = None,
    progress: Progress | None = None,
    spill: Path | None = None,
) -> Streamed:
    """Score the merged model of every candidate in one pass over the experts, without ever holding a model.

    The scores are those of merging, loading and evaluating, bit for bit: the module's own code runs on the
    same batches with the same merged weights. A forward pass is paused wherever it needs weights that are not
    in memory, and goes on when their block has been read, once for all candidates.

    Args:
        build: Makes the module; it may initialise weights and should not load any.
        base: The base model: experts and module must have its tensors. Only its headers are read.
        experts: The experts. [N]
        weights: Merging weights, a row a candidate, as from `m2m.mixture.weight_matrix`. [M, N]
        scorers: The tasks, each a `BatchedScorer`.
        memory: Most bytes that scoring may add to what the process holds, besides the tasks' own examples.
        threads: CPU threads of the merge; None for the kernel's own choice.
        progress: Called after every block.
        spill: Folder for activations that don't fit; the system's folder for temporary files if None.

    Returns:
        The scores and the counts.

    Raises:
        InputError: If a task does not come in batches, or `memory` is too small for one operation's weights
            or one batch's activations.
        CheckpointError: If checkpoints, module and each other do not fit, or hold values that are not finite.
        MixtureError: If `weights` are not M rows of N finite numbers.
    """  # noqa: DOC502 - raised by what is called
    matrix = checked_weights(weights, len(experts))
    tasks = [_in_batches(scorer) for scorer in scorers]
    check_same_tensors(base, experts)
    used = _read_at_all(matrix)
    present = [experts[n] for n in used]
    model = build_hollow(build)
    held = Weights(model, base)
    with SpillFile(spill) as file, scoring(model), returning_memory():
        stage = _Stage(model, held, tasks, file, partial(check_operation, len(present), memory))
        seen = stage.rehearse()
        shares = share(memory, len(present), len(matrix) * len(stage.batches), seen)
        blocks = cut(seen.uses, held.sizes, shares.block)
        merger = Merger(present, matrix[:, used], recurring(blocks), file, threads)
        walk = Walk(blocks, shares, held, stage.activations, merger, stage.check)
        passes = stage.play(walk, len(matrix), shares.paused, progress)
        return Streamed(stage.scores(len(matrix)), merger.bytes_read, file.written, walk.loaded, passes)


def _read_at_all(matrix: NDArray[np.float64]) -> list[int]:
    # An expert with weight zero in every candidate is absent.
    return [n for n in range(matrix.shape[1]) if matrix[:, n].any() or not matrix.any()]


def _in_batches(scorer: Scorer) -> BatchedScorer:
    if not isinstance(scorer, BatchedScorer):
        raise InputError(
            f"task {scorer.task} ({scorer.split}): streamed scoring needs a task that comes in batches "
            f"(BatchedScorer), got {type(scorer).__name__}; use the resident mode"
        )
    return scorer


class _Stage:
    """A hollow module, the tasks' batches, and the results so far."""

    def __init__(
        self,
        model: nn.Module,
        weights: Weights,
        tasks: Sequence[BatchedScorer],
        spill: SpillFile,
        check: Callable[[frozenset[Weight]], None],
    ) -> None:
        self._model, self._weights, self._tasks = model, weights, tasks
        self.activations, self.check = Activations(spill), check
        self._spill = spill
        self.batches = [(number, batch) for number, task in enumerate(tasks) for batch in task.batches()]
        self._results: dict[tuple[int, int], Mapping[str, Tensor]] = {}

    def rehearse(self) -> Rehearsal:
        """Rehearse each task with its largest batch.

        Returns:
            What was seen.
        """
        seen, activations = Rehearsal(), MeasuredActivations(self._spill)
        for number in range(len(self._tasks)):
            largest = max(
                (place for place, (task, _) in enumerate(self.batches) if task == number),
                key=lambda place: _elements(self.batches[place][1]),
            )
            with closing(self._forward(0, largest)) as forward:
                rehearse(seen, forward, self._weights, activations, self.check)
        return seen

    def play(self, walk: Walk, candidates: int, paused: int, progress: Progress | None) -> int:
        """Carry every batch of every candidate through the network, as many at a time as may be paused.

        Args:
            walk: The blocks.
            candidates: Number of candidates M.
            paused: Forward passes under way at a time.
            progress: Called after every block.

        Returns:
            Passes over the experts.
        """
        flights = [(m, place) for m in range(candidates) for place in range(len(self.batches))]
        groups = [flights[start : start + paused] for start in range(0, len(flights), paused)]
        total = len(groups) * walk.planned
        for done, group in enumerate(groups):
            with ExitStack() as stack:
                forwards = [stack.enter_context(closing(self._forward(*flight))) for flight in group]
                for block in walk.take(forwards):
                    if progress is not None:
                        progress(done * walk.planned + block, total, "blocks")
                self._results |= {flight: f.result for flight, f in zip(group, forwards, strict=True)}
        return len(groups)

    def scores(self, candidates: int) -> list[list[Scores]]:
        """Put the batches' results together.

        Args:
            candidates: Number of candidates M.

        Returns:
            A row a candidate, a column a task. [M, tasks]
        """
        return [
            [checked_scores(task, self._joined(m, number)) for number, task in enumerate(self._tasks)]
            for m in range(candidates)
        ]

    def _joined(self, candidate: int, number: int) -> Scores:
        places = [place for place, (task, _) in enumerate(self.batches) if task == number]
        parts = [self._results[candidate, place] for place in places]
        joined = {metric: torch.cat([part[metric] for part in parts]) for metric in parts[0]}
        return Scores({metric: values.double().cpu().numpy() for metric, values in joined.items()})

    def _forward(self, candidate: int, place: int) -> Forward:
        number, batch = self.batches[place]
        task = self._tasks[number]
        return Forward(candidate, lambda: task.judge(self._model(**batch.inputs), batch))


def _elements(batch: TaskBatch) -> int:
    return sum(tensor.numel() for tensor in batch.inputs.values())
