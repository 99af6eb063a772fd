"""Tasks that ask how likely a causal language model finds given tokens: the part they share."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from m2m.scoring.tasks.batched_scorer import BatchedScorer, TaskBatch, at_least_float32
from m2m.setups.protocol import logits_of

#: Tokens a batch, padding included: enough to keep a CPU busy, few enough for a large vocabulary's logits.
BATCH_TOKENS = 1024
#: Stands in `targets` where nothing is predicted.
NOTHING = -100
#: Tokens that are judged at once, so that what a large vocabulary takes stays in the processor's cache.
JUDGED_TOKENS = 32


@dataclass(frozen=True)
class Row:
    """One row of tokens that goes through the model.

    Attributes:
        tokens: What is read and what is predicted: token t is predicted from all before it. [T + 1]
        scored: How many of the last ones count.
    """

    tokens: tuple[int, ...]
    scored: int


class LikelihoodScorer(BatchedScorer):
    """Examples of one or more rows each, judged by the rows' negative log-likelihoods.

    Rows are padded on the right, so that a causal model needs no mask: what it predicts from never sees the
    padding. Which rows share a batch changes results by rounding at most.

    Args:
        task: Name of the task.
        kind: Name and revision of the metrics' definitions, part of the version.
        examples: Each example's rows.
        input_name: Name of the tokens among the arguments of the model's forward.
        batch_tokens: Most tokens a batch, padding included; an example is never split.
    """

    split = "validation"

    def __init__(
        self,
        task: str,
        kind: str,
        examples: Sequence[tuple[Row, ...]],
        input_name: str,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.task, self.count = task, len(examples)
        self._examples, self._input_name, self._batch_tokens = examples, input_name, batch_tokens
        self.version = hashlib.sha256(f"{kind} {examples!r}".encode()).hexdigest()[:16]

    @abstractmethod
    def values(self, examples: Sequence[int], nats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Judge examples by how likely the model finds their rows.

        Args:
            examples: Example numbers. [B]
            nats: −ln p of the scored tokens of each of an example's rows, summed, float64. [B] of [rows]

        Returns:
            Each metric's value for each example. each [B]
        """

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches, in the order given.

        Args:
            examples: Example numbers in [0, E); None for all.

        Yields:
            TaskBatch: The next rows; its reference says which tokens are predicted, and whose they are.
        """
        group: list[int] = []
        for example in range(self.count) if examples is None else examples:
            if group and self._cells([*group, example]) > self._batch_tokens:
                yield self._batch(group)
                group = []
            group.append(example)
        if group:
            yield self._batch(group)

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge the logits of a batch.

        Args:
            output: Logits [rows, T, V], or an object that has them.
            batch: The batch that went in.

        Returns:
            Each metric's value for each of the batch's examples. each [B]
        """
        examples: list[int] = batch.reference["examples"].tolist()
        nats = _row_nats(logits_of(output), batch.reference["targets"])
        rows = [len(self._examples[example]) for example in examples]
        return self.values(examples, torch.split(nats, rows))

    def _cells(self, group: Sequence[int]) -> int:
        rows = [row for example in group for row in self._examples[example]]
        return len(rows) * max(len(row.tokens) - 1 for row in rows)

    def _batch(self, group: Sequence[int]) -> TaskBatch:
        rows = [row for example in group for row in self._examples[example]]
        width = max(len(row.tokens) for row in rows) - 1
        tokens = torch.zeros(len(rows), width, dtype=torch.int64)
        targets = torch.full_like(tokens, NOTHING)
        for at, row in enumerate(rows):
            last, content = len(row.tokens) - 1, torch.tensor(row.tokens)
            tokens[at, :last] = content[:-1]
            targets[at, last - row.scored : last] = content[-row.scored :]
        reference: Mapping[str, Tensor] = {"targets": targets, "examples": torch.tensor(group)}
        return TaskBatch({self._input_name: tokens}, reference)


def _row_nats(logits: Tensor, targets: Tensor) -> Tensor:
    # [rows], float64. The tokens that count are the last ones before the padding; each is judged by itself.
    sums = []
    for row, wanted in zip(logits, targets.to(logits.device), strict=True):
        first, count = int((wanted != NOTHING).int().argmax()), int((wanted != NOTHING).sum())
        parts = [
            slice(at, min(at + JUDGED_TOKENS, first + count))
            for at in range(first, first + count, JUDGED_TOKENS)
        ]
        nats = [
            functional.cross_entropy(at_least_float32(row[part]), wanted[part], reduction="none")
            for part in parts
        ]
        sums.append(torch.cat(nats).double().sum())
    return torch.stack(sums)
