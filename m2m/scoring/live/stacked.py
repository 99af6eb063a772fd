"""Score candidates many at once: their weights stacked, one forward of a batched program for all of them.

Small models spend their time on starting operations, not on arithmetic; a stack of K candidates starts each
operation once instead of K times. Larger ones gain nothing on a CPU, where a batched matrix product is no
faster than its products one by one. So the size of the model decides, not a measured time: scores must not
depend on how busy the machine is, not even in their last bit.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from m2m.errors import InputError
from m2m.scoring.live.live_model import LiveModel, checked_weights
from m2m.scoring.live.resident import restored, walk
from m2m.scoring.tasks.scorer import BatchedScorer, Scorer, Scores, checked_scores, joined, scoring
from m2m.support.arrays import Floats

#: Most bytes that the stacked weights take.
STACK_BYTES = 1 << 30
#: Largest model, in numbers of its state, that is stacked unless asked for: see docs/racing.md for the times.
LARGEST = 1 << 17
#: Candidates in a stack.
CHUNK = 32
#: How torch begins its warning that an operation has no batched form.
LOOPED = "There is a performance drop"

Forward = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
Scored = tuple[int, list[Scores]]


class StackedWalk(Iterator[Scored]):
    """Walks over (candidate number, one `Scores` a task), in the order of the candidates.

    Attributes:
        chunk: Candidates that go through the model at once; 1 means one by one, as `score_candidates` does.
        why: The reason, for people.
    """

    def __init__(
        self,
        live: LiveModel,
        matrix: Floats,
        scorers: Sequence[Scorer],
        chunk: int | None,
        threads: int | None,
    ) -> None:
        self._live, self._matrix, self._scorers, self._threads = live, matrix, scorers, threads
        self._forward = _stacked_forward(live.model)
        self.chunk, self.why = self._plan(chunk)
        self._walk = self._run()

    def __next__(self) -> Scored:
        """Score the next candidates, where that is not done yet.

        Returns:
            The next candidate's number and scores.
        """
        return next(self._walk)

    def _plan(self, chunk: int | None) -> tuple[int, str]:
        unfit = [scorer.task for scorer in self._scorers if not isinstance(scorer, BatchedScorer)]
        if unfit or not len(self._matrix) or not self._scorers:
            return 1, f"task {unfit[0]} does not come in batches" if unfit else "there is nothing to score"
        state = self._live.model.state_dict().values()
        count, size = sum(tensor.numel() for tensor in state), sum(tensor.nbytes for tensor in state)
        most = max(1, min(len(self._matrix), STACK_BYTES // max(1, size)))
        if chunk is not None:
            return min(chunk, most), f"asked for {chunk} at once; {most} fit"
        if count > LARGEST:
            return 1, f"the model has {count} numbers, stacks pay up to {LARGEST}"
        obstacle = self._obstacle()
        if obstacle:
            return 1, obstacle
        return min(CHUNK, most), f"the model has {count} numbers, stacks pay up to {LARGEST}"

    def _obstacle(self) -> str:
        # What one candidate on one batch shows against stacks; empty if nothing does.
        scorer = self._scorers[0]
        assert isinstance(scorer, BatchedScorer)
        state = self._live.merge_stacked(self._matrix[:1], self._threads)
        model = self._live.model
        own = {*dict(model.named_parameters(remove_duplicate=False))}
        own |= {*dict(model.named_buffers(remove_duplicate=False))}
        if not state.keys() <= own:
            return "weights are stored under other names than the module's"
        with scoring(model), warnings.catch_warnings():
            warnings.filterwarnings("error", LOOPED)
            try:
                self._forward(state, next(iter(scorer.batches())).to(_device(state)).inputs)
            except UserWarning as warning:
                return f"part of the model would run in a loop: torch cannot batch {_looped(warning)}"
            except Exception as error:
                return _no_program(error)
        return ""

    def _run(self) -> Iterator[Scored]:
        done = 0
        while self.chunk > 1 and done < len(self._matrix):
            rows = self._matrix[done : done + self.chunk]
            try:
                scored = self._score(rows)
            except RuntimeError as error:  # a later batch may take a way through the model that has no stack
                self.chunk, self.why = 1, _no_program(error)
                break
            for k in range(len(rows)):
                pairs = zip(self._scorers, scored, strict=True)
                yield done + k, [checked_scores(scorer, scores[k]) for scorer, scores in pairs]
            done += len(rows)
        rest = walk(self._live, self._matrix[done:], self._scorers, self._threads)
        for k, scores in restored(self._live, rest):
            yield done + k, scores

    def _score(self, rows: Floats) -> list[list[Scores]]:
        # A list a task, of a `Scores` a candidate.
        state = self._live.merge_stacked(rows, self._threads)
        with scoring(self._live.model), warnings.catch_warnings():
            warnings.filterwarnings("ignore", LOOPED)  # slower, as asked for, but right
            return [
                _score_task(self._forward, state, scorer, len(rows))
                for scorer in self._scorers
                if isinstance(scorer, BatchedScorer)
            ]


def score_stacked(
    model: nn.Module,
    base: Mapping[str, Tensor],
    experts: Sequence[Mapping[str, Tensor]],
    weights: ArrayLike,
    scorers: Sequence[Scorer],
    *,
    chunk: int | None = None,
    threads: int | None = None,
) -> StackedWalk:
    """Score the merged model of every candidate, many at once where that is faster.

    The merged weights have the bits of `m2m.weighted_sum`. The forward may round differently from one
    candidate's alone, as batched matrix products may sum in another order. Models that have no batched
    program (their way depends on data, or they write into their own memory) are scored one by one; `why` of
    the walk says so.

    Args:
        model: The module; ends with the base weights.
        base: θ₀, tensor by name.
        experts: The experts' states, with the base's names, shapes and dtypes. [N]
        weights: Merging weights, a row a candidate. [M, N]
        scorers: The tasks.
        chunk: Candidates at once; None: by the size of the model, one by one if it is large.
        threads: CPU threads of the merge; None for the kernel's own choice.

    Returns:
        Walks over (candidate number, one `Scores` a task), in the order of the candidates.

    Raises:
        InputError: If `chunk` is below 1.
    """
    if chunk is not None and chunk < 1:
        raise InputError(f"a stack needs a chunk of at least one candidate, got {chunk}")
    matrix = checked_weights(weights, len(experts))
    return StackedWalk(LiveModel(model, base, experts), matrix, scorers, chunk, threads)


def _stacked_forward(model: nn.Module) -> Forward:
    from torch.func import functional_call, vmap  # takes a second to import, pandas with it

    def alone(state: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        output = functional_call(model, state, (), inputs, tie_weights=False)
        logits = output.logits if hasattr(output, "logits") else output
        if not isinstance(logits, Tensor):
            raise RuntimeError(f"its forward returns {type(output).__name__}, which has no logits")
        return logits

    together = vmap(alone, in_dims=(0, None))

    def forward(state: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        outputs: Tensor = together(dict(state), dict(inputs))
        return outputs

    return forward


def _score_task(
    forward: Forward, state: Mapping[str, Tensor], scorer: BatchedScorer, count: int
) -> list[Scores]:
    parts: list[list[Mapping[str, Tensor]]] = [[] for _ in range(count)]
    for batch in (batch.to(_device(state)) for batch in scorer.batches()):
        for part, output in zip(parts, forward(state, batch.inputs), strict=True):
            part.append(scorer.judge(output, batch))
    return [joined(scorer.task, part) for part in parts]


def _device(state: Mapping[str, Tensor]) -> torch.device:
    return next(iter(state.values())).device


def _looped(warning: UserWarning) -> str:
    # torch's warning is a paragraph, and names the operation.
    named = re.search(r"batching rule for (\w[\w:.]*\w)", str(warning))
    return named[1] if named else "one of its operations"


def _no_program(error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"the model has no batched program: {first}"
