"""Tasks that ask how likely a language model finds given tokens, and one of them: multiple choice."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from m2m.errors import DataError
from m2m.scoring.tasks.inputs import PREDICT_TEXT, Tokens, json_lines, require_head, text_of
from m2m.scoring.tasks.rows import NOTHING, Row, continuation, model_inputs
from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch, at_least_float32
from m2m.scoring.tasks.task_options import first
from m2m.setups.protocol import logits_of

#: Tokens a batch, padding included: enough to keep a CPU busy, few enough for a large vocabulary's logits.
BATCH_TOKENS = 1024
#: Tokens that are judged at once, so that what a large vocabulary takes stays in the processor's cache.
JUDGED_TOKENS = 32


class LikelihoodScorer(BatchedScorer):
    """Examples of one or more rows each, judged by the rows' negative log-likelihoods.

    Which rows share a batch changes results by rounding at most.

    Args:
        task: Name of the task.
        kind: Name and revision of the metrics' definitions, part of the version.
        examples: Each example's rows.
        tokens: What the model's forward calls its arguments.
        batch_tokens: Most tokens a batch, padding included; an example is never split.
    """

    split = "validation"

    def __init__(
        self,
        task: str,
        kind: str,
        examples: Sequence[tuple[Row, ...]],
        tokens: Tokens,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.task, self.count = task, len(examples)
        self._examples, self._batch_tokens = examples, batch_tokens
        self._input_name, self._learnt_name = tokens.input_name, tokens.learnt_name
        self.version = hashlib.sha256(f"{kind} {examples!r}".encode()).hexdigest()[:16]

    @abstractmethod
    def values(self, examples: Sequence[int], nats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Turn −ln p of each row's scored tokens, summed, float64, [B] of [rows], into metrics, each [B]."""

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches; the reference: which tokens are predicted, and whose they are."""
        group: list[int] = []
        for example in range(self.count) if examples is None else examples:
            if group and self._cells([*group, example]) > self._batch_tokens:
                yield self._batch(group)
                group = []
            group.append(example)
        if group:
            yield self._batch(group)

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge the logits of a batch, all [rows, T, V] or those wanted [A, V], by likelihood. each [B]."""
        examples: list[int] = batch.reference["examples"].tolist()
        nats = _row_nats(logits_of(output), batch.reference["targets"])
        rows = [len(self._examples[example]) for example in examples]
        return self.values(examples, torch.split(nats, rows))

    def _cells(self, group: Sequence[int]) -> int:
        rows = [row for example in group for row in self._examples[example]]
        return len(rows) * max(row.length for row in rows)

    def _batch(self, group: Sequence[int]) -> TaskBatch:
        rows = [row for example in group for row in self._examples[example]]
        inputs, targets = model_inputs(rows, self._input_name)
        reference: Mapping[str, Tensor] = {"targets": targets, "examples": torch.tensor(group)}
        if self._learnt_name:
            inputs[self._learnt_name] = targets != NOTHING
        return TaskBatch(inputs, reference)


def _row_nats(logits: Tensor, targets: Tensor) -> Tensor:
    # [rows], float64. Each row is judged by itself, a part of its tokens at a time.
    sums = []
    for row, wanted in _counted(logits, targets.to(logits.device)):
        parts = zip(torch.split(row, JUDGED_TOKENS), torch.split(wanted, JUDGED_TOKENS), strict=True)
        nats = [
            functional.cross_entropy(at_least_float32(part), tokens, reduction="none")
            for part, tokens in parts
        ]
        sums.append(torch.cat(nats).double().sum())
    return torch.stack(sums)


def _counted(logits: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    # The logits and the targets of each row that count: the last ones before the padding.
    counts = [int(count) for count in (targets != NOTHING).sum(1)]
    if logits.ndim == 2:
        yield from zip(
            torch.split(logits, counts), torch.split(targets[targets != NOTHING], counts), strict=True
        )
        return
    for row, wanted, count in zip(logits, targets, counts, strict=True):
        first = int((wanted != NOTHING).int().argmax())
        yield row[first : first + count], wanted[first : first + count]


@dataclass(frozen=True)
class Question:
    """A context (may be empty), at least two answers, the number of the right one, from 0, and its place."""

    context: str
    choices: tuple[str, ...]
    answer: int
    where: str = field(default="", compare=False)


class MultipleChoiceScorer(LikelihoodScorer):
    """Accuracy of the likeliest choice, as the lm-evaluation-harness counts it, and the right one's loss.

    `accuracy` compares the summed log-likelihoods of the choices' own tokens; `accuracy_norm` divides each
    by its choice's number of characters first; `loss` is −ln p of the right choice, in nat a token. A tie
    goes to the first choice. A choice is joined to its context by one space where neither brings white
    space, or asked as a user through the chat template. A context that does not fit loses its beginning.

    Args:
        task: Name of the task.
        questions: The examples.
        tokens: The model's tokens.
        chat: Whether a context is a user's question, and its choices are answers by the chat template.
        batch_tokens: Most tokens a batch.

    Raises:
        ConfigError: If the model is none that predicts text.
        DataError: If a choice has no token that could be predicted, or does not fit the model's context.
    """

    metrics: Mapping[str, bool] = {"accuracy": True, "accuracy_norm": True, "loss": False}

    def __init__(
        self,
        task: str,
        questions: Sequence[Question],
        tokens: Tokens,
        *,
        chat: bool = False,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        require_head(task, tokens, *PREDICT_TEXT)
        self._questions = questions
        begin = _asked if chat else _joined
        rows = [
            tuple(
                continuation(
                    *begin(question.context, choice, tokens), choice, tokens, f"task {task}, example {at}"
                )
                for choice in question.choices
            )
            for at, question in enumerate(questions)
        ]
        self._rows = rows
        answers = [(question.choices, question.answer) for question in questions]
        super().__init__(task, f"multiple choice 1 {answers!r}", rows, tokens, batch_tokens)

    @classmethod
    def read(
        cls, path: Path, tokens: Tokens, *, limit: float | None, chat: bool = False
    ) -> MultipleChoiceScorer:
        """Make the task of JSON Lines: `question` or `context`, `choices`, `answer` (text or number)."""
        return cls(f"choice:{path.name}", first(read_questions(path), limit), tokens, chat=chat)

    def values(self, examples: Sequence[int], nats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Compare the choices of each example. each [B]."""
        judged = [
            _judged(self._questions[at], row[self._questions[at].answer].scored, own)
            for at, row, own in zip(examples, (self._rows[at] for at in examples), nats, strict=True)
        ]
        return {metric: torch.stack([values[metric] for values in judged]) for metric in self.metrics}


def _judged(question: Question, length: int, nats: Tensor) -> dict[str, Tensor]:
    characters = torch.tensor(
        [len(choice) for choice in question.choices], dtype=nats.dtype, device=nats.device
    )
    right = question.answer
    return {
        "accuracy": (nats.argmin() == right).to(nats.dtype),
        "accuracy_norm": ((nats / characters).argmin() == right).to(nats.dtype),
        "loss": nats[right] / length,
    }


def _joined(context: str, choice: str, tokens: Tokens) -> tuple[str, str]:
    # White space at the end of the context belongs to the continuation: tokenizers put it before the word.
    stem = context.rstrip()
    return stem, context[len(stem) :] or ("" if not context or choice[:1].isspace() else " ")


def _asked(context: str, choice: str, tokens: Tokens) -> tuple[str, str]:
    return tokens.question(context), ""


def read_questions(path: Path) -> list[Question]:
    """Read JSON Lines: `question` or `context`, `choices`, and `answer`, a choice or its number from 0."""
    return [_question(row, where) for where, row in json_lines(path).items()]


def _question(row: Mapping[str, Any], where: str) -> Question:
    context, choices, answer = (
        text_of(row, ("question", "context"), where),
        row.get("choices"),
        row.get("answer"),
    )
    if (
        not isinstance(choices, list)
        or len(choices) < 2
        or not all(isinstance(c, str) and c for c in choices)
    ):
        raise DataError(f"{where}: `choices` must be a list of at least two texts, got {choices!r:.80}")
    if isinstance(answer, str) and choices.count(answer) == 1:
        answer = choices.index(answer)
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise DataError(
            f"{where}: `answer` must be a choice or its number, 0 to {len(choices) - 1}; got {answer!r:.80}"
        )
    return Question(context, tuple(choices), answer, where)
