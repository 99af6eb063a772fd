"""Score candidates of models larger than memory: all go through the network together, block by block."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from m2m.checkpoint import Checkpoint, align
from m2m.checkpoint.layout import Layout
from m2m.errors import InputError
from m2m.scoring.heap import returning_memory
from m2m.scoring.live.live_model import checked_weights
from m2m.scoring.streamed.forward import Activations, Forward
from m2m.scoring.streamed.merger import Merger
from m2m.scoring.streamed.plan import check_operation, cut, recurring, share
from m2m.scoring.streamed.sources import Sources
from m2m.scoring.streamed.spill_file import SpillFile
from m2m.scoring.streamed.stage import Stage
from m2m.scoring.streamed.walk import Walk
from m2m.scoring.tasks.scorer import Scorer, Scores
from m2m.support.arrays import Floats
from m2m.support.progress import Progress

Scored = tuple[int, list[Scores]]


@dataclass(frozen=True)
class Counts:
    """What a streamed walk took.

    Attributes:
        bytes_read: Bytes read from the experts' shards.
        bytes_spilled: Bytes of activations, and of weights used in several blocks, that were written to disk.
        blocks: Blocks that were read and merged.
        passes: Passes over the experts.
    """

    bytes_read: int = 0
    bytes_spilled: int = 0
    blocks: int = 0
    passes: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Add up what two walks took."""
        mine, more = asdict(self), asdict(other)
        return Counts(**{name: mine[name] + more[name] for name in mine})


@dataclass(frozen=True)
class Streamed:
    """Scores of all candidates, and what they took.

    Attributes:
        scores: A row a candidate, a column a task. [M, tasks]
        counts: Bytes, blocks and passes.
    """

    scores: list[list[Scores]]
    counts: Counts


class StreamedWalk(Iterator[Scored]):
    """Walks over (candidate number, one `Scores` a task), of models that are never held whole.

    The scores are those of merging, loading and evaluating, bit for bit: the module's own code runs on the
    same batches with the same merged weights. A forward pass is paused wherever it needs weights that are not
    in memory, and goes on when their block has been read, once for all candidates of a pass.

    Everything but the experts' values is checked at the call. A candidate comes as soon as its last batch is
    through the last block; one whose scores are not proper is an error once the others of its pass have come.

    Args:
        build: Makes the module; it may initialise weights and should not load any.
        base: The base model: experts and module must have its tensors. Only its headers are read.
        experts: The experts. [N]
        weights: Merging weights, a row a candidate, as from `m2m.mixture.weight_matrix`. [M, N]
        scorers: The tasks, each a `BatchedScorer`.
        memory: Most bytes that scoring may add to what the process holds, besides the tasks' own examples.
        threads: CPU threads of the merge; None for the kernel's own choice.
        progress: Called with (done, total, what), counting each batch of each candidate in each block.
        spill: Folder for activations that don't fit; the system's folder for temporary files if None.
        passes: Least passes over the experts, each with its part of the candidates: what is lost when a
            pass is interrupted gets smaller, what is read grows.
        names: What messages call the candidates; None for their numbers. [M]
        layout: Says, once the module is built, how stored tensors make up the module's; None: each is the
            module's of its name.

    Attributes:
        counts: What was read, spilled and done, as of the last pass that ended.

    Raises:
        InputError: If a task does not come in batches, or `memory` is too small for one operation's weights
            or one batch's activations.
        CheckpointError: If checkpoints, module and each other do not fit; on the way, if they hold values
            that are not finite.
        MixtureError: If `weights` are not M rows of N finite numbers.
    """

    def __init__(
        self,
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
        passes: int = 1,
        names: Sequence[str] | None = None,
        layout: Callable[[], Layout | None] = lambda: None,
    ) -> None:
        matrix = checked_weights(weights, len(experts))
        aligned = align(base, experts)
        experts, self._base, self._kept = aligned.models, base, aligned.kept
        used = _read_at_all(matrix)
        self._experts, self._matrix, self._threads = [experts[n] for n in used], matrix[:, used], threads
        self._names = names or [f"number {m}" for m in range(len(matrix))]
        self._progress, self._spill = progress, spill
        self._stage = Stage(build, layout, [base, *self._experts], scorers)
        self._check = partial(check_operation, len(used), memory)
        with SpillFile(spill) as file, returning_memory():
            seen = self._stage.rehearse(file, self._check)
        parts = _parts(len(matrix), passes)
        self._shares = share(memory, len(used), len(parts[0]) * self._stage.batches, seen)
        self._blocks = cut(seen.uses, self._stage.weights.sizes, self._shares.block)
        self._groups = [group for part in parts for group in self._together(part)]
        self.counts = Counts()
        self._walk = self._run()

    def __next__(self) -> Scored:
        """Go on until a candidate is done: its number and scores."""
        return next(self._walk)

    def close(self) -> None:
        """End the walk where it is; what it holds, in memory and on disk, is given back."""
        self._walk.close()

    def _together(self, candidates: Sequence[int]) -> list[list[tuple[int, int]]]:
        # Ordered by candidate, so that each is done as early as possible, and merged once a block.
        flights = [(m, place) for m in candidates for place in range(self._stage.batches)]
        most = self._shares.paused
        return [flights[start : start + most] for start in range(0, len(flights), most)]

    def _run(self) -> Generator[Scored, None, None]:
        with SpillFile(self._spill) as file, returning_memory():
            sources = Sources(self._base, self._experts, self._kept)
            merger = Merger(sources, self._matrix, recurring(self._blocks), file, self._threads)
            held = self._stage.weights
            walk = Walk(self._blocks, self._shares, held, Activations(file), merger, self._check)
            for number in range(len(self._groups)):
                yield from self._pass(number, walk)
                self.counts = Counts(sources.bytes_read, file.written, walk.loaded, number + 1)

    def _pass(self, number: int, walk: Walk) -> Iterator[Scored]:
        improper: list[InputError] = []
        with ExitStack() as stack:
            forwards = [
                stack.enter_context(closing(self._stage.forward(*flight))) for flight in self._groups[number]
            ]
            for steps, forward in walk.take(forwards):
                self._tell(number, steps)
                if forward.done and self._stage.keep(forward):
                    try:
                        scores = self._stage.scores(forward.candidate)
                    except InputError as error:
                        improper.append(self._named(forward, error))
                    else:
                        yield forward.candidate, scores
        if improper:
            raise improper[0]

    def _named(self, forward: Forward, error: InputError) -> InputError:
        return type(error)(f"candidate {self._names[forward.candidate]}: {error}")

    def _tell(self, number: int, steps: int) -> None:
        if self._progress is None:
            return
        sizes = [len(group) for group in self._groups]
        blocks = len(self._blocks)
        block = -(-steps // sizes[number])
        which = f"pass {number + 1} of {len(sizes)}, " if len(sizes) > 1 else ""
        done, total = blocks * sum(sizes[:number]) + steps, blocks * sum(sizes)
        self._progress(done, total, f"{which}block {block} of {blocks}, steps")


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
    layout: Callable[[], Layout | None] = lambda: None,
) -> Streamed:
    """Score the merged model of every candidate in one pass over the experts, without ever holding a model.

    `StreamedWalk` says what is done, and gives the scores one by one.

    Args:
        build: Makes the module; it may initialise weights and should not load any.
        base: The base model: experts and module must have its tensors. Only its headers are read.
        experts: The experts. [N]
        weights: Merging weights, a row a candidate, as from `m2m.mixture.weight_matrix`. [M, N]
        scorers: The tasks, each a `BatchedScorer`.
        memory: Most bytes that scoring may add to what the process holds, besides the tasks' own examples.
        threads: CPU threads of the merge; None for the kernel's own choice.
        progress: Called with (done, total, what), counting each batch of each candidate in each block.
        spill: Folder for activations that don't fit; the system's folder for temporary files if None.
        layout: Says, once the module is built, how stored tensors make up the module's; None: each is the
            module's of its name.

    Returns:
        The scores and the counts.
    """
    walk = StreamedWalk(
        build, base, experts, weights, scorers,
        memory=memory, threads=threads, progress=progress, spill=spill, layout=layout,
    )  # fmt: skip
    scores = dict(walk)
    return Streamed([scores[m] for m in sorted(scores)], walk.counts)


def _read_at_all(matrix: Floats) -> list[int]:
    # An expert with weight zero in every candidate is absent.
    return [n for n in range(matrix.shape[1]) if matrix[:, n].any() or not matrix.any()]


def _parts(candidates: int, count: int) -> list[Sequence[int]]:
    # The first part is the largest.
    return [part.tolist() for part in np.array_split(np.arange(candidates), max(1, min(count, candidates)))]
