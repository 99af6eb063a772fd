"""Score candidates in memory: merge into one live module, score it, go on to the next. No disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from numpy.typing import ArrayLike
from torch import Tensor, nn

from m2m.checkpoint.layout import Layout
from m2m.scoring.heap import keeping_memory
from m2m.scoring.live.live_model import LiveModel, checked_weights
from m2m.scoring.tasks.scorer import Scorer, Scores, score_model
from m2m.support.arrays import Floats

#: Candidates that one pass over the experts makes; with more, clearing their memory costs what is saved.
AHEAD = 4


def score_candidates(
    model: nn.Module,
    base: Mapping[str, Tensor],
    experts: Sequence[Mapping[str, Tensor]],
    weights: ArrayLike,
    scorers: Sequence[Scorer],
    *,
    threads: int | None = None,
    ahead: int = AHEAD,
    layout: Layout | None = None,
) -> Iterator[tuple[int, list[Scores]]]:
    """Score the merged model of every candidate, one after the other.

    Several candidates are merged in one pass over the experts. A thread that merged the next ones during a
    forward pass would only take the cores that the forward pass uses.

    Everything is checked at the call, before the first candidate. When the walk ends, in whatever way, the
    module has the base weights again.

    Args:
        model: The live module that takes the merged weights.
        base: θ₀, tensor by name.
        experts: The experts' states, with the base's names and shapes. [N]
        weights: Merging weights, a row a candidate. [M, N]
        scorers: The tasks.
        threads: CPU threads of the merge; None for the kernel's own choice.
        ahead: Candidates a pass over the experts; each takes the memory of a model.
        layout: How stored tensors make up the module's; None: each is the module's of its name.

    Returns:
        Walks over (candidate number, one `Scores` a task), in the order of the candidates.
    """
    matrix = checked_weights(weights, len(experts))
    live = LiveModel(model, base, experts, layout=layout)
    return restored(live, walk(live, matrix, scorers, threads, ahead))


def walk(
    live: LiveModel,
    matrix: Floats,
    scorers: Sequence[Scorer],
    threads: int | None = None,
    ahead: int = AHEAD,
) -> Iterator[tuple[int, list[Scores]]]:
    """Score a live model's candidates [M, N]: their numbers, and one `Scores` a task."""
    live.make_room(min(ahead, len(matrix)))
    for first in range(0, len(matrix), ahead):
        rows = matrix[first : first + ahead]
        live.merge_ahead(rows, threads)
        for k in range(len(rows)):
            live.show(k)
            yield first + k, score_model(live.model, scorers)


def restored(
    live: LiveModel, scored: Iterator[tuple[int, list[Scores]]]
) -> Iterator[tuple[int, list[Scores]]]:
    """Walk, and give the module its base weights again when the walk ends, in whatever way."""
    try:
        with keeping_memory():
            yield from scored
    finally:
        live.restore()


def score_resident(
    model: nn.Module,
    base: Mapping[str, Tensor],
    experts: Sequence[Mapping[str, Tensor]],
    weights: ArrayLike,
    scorers: Sequence[Scorer],
    *,
    threads: int | None = None,
    layout: Layout | None = None,
) -> list[list[Scores]]:
    """Score the merged model of every candidate; `score_candidates` gives the same one by one.

    Args:
        model: The live module that takes the merged weights; ends with the base weights.
        base: θ₀, tensor by name.
        experts: The experts' states, with the base's names and shapes. [N]
        weights: Merging weights, a row a candidate, as from `m2m.mixture.weight_matrix`. [M, N]
        scorers: The tasks.
        threads: CPU threads of the merge; None for the kernel's own choice.
        layout: How stored tensors make up the module's; None: each is the module's of its name.

    Returns:
        A row a candidate, a column a task. [M, len(scorers)]
    """
    walk = score_candidates(model, base, experts, weights, scorers, threads=threads, layout=layout)
    return [scores for _, scores in walk]
