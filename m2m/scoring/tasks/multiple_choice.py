"""Multiple choice by log-likelihood: which continuation does the model find most likely?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m2m.errors import DataError
from m2m.scoring.tasks.json_lines import json_lines, text_of
from m2m.scoring.tasks.likelihood import BATCH_TOKENS, LikelihoodScorer, Row
from m2m.scoring.tasks.tokens import Tokens


@dataclass(frozen=True)
class Question:
    """One example.

    Attributes:
        context: What comes before the answer; may be empty.
        choices: The answers to compare, at least two.
        answer: Number of the right one, from 0.
    """

    context: str
    choices: tuple[str, ...]
    answer: int


class MultipleChoiceScorer(LikelihoodScorer):
    """Accuracy of the likeliest choice, as the lm-evaluation-harness counts it, and the right one's loss.

    `accuracy` compares the summed log-likelihoods of the choices' own tokens; `accuracy_norm` divides each
    by its choice's number of characters first; `loss` is −ln p of the right choice, in nat a token. A tie
    goes to the first choice. A choice is joined to its context by one space where neither brings white
    space. A context that does not fit loses its beginning.

    Args:
        task: Name of the task.
        questions: The examples.
        tokens: The model's tokens.
        batch_tokens: Most tokens a batch.

    Raises:
        DataError: If a choice has no token that could be predicted, or does not fit the model's context.
    """

    metrics: Mapping[str, bool] = {"accuracy": True, "accuracy_norm": True, "loss": False}

    def __init__(
        self, task: str, questions: Sequence[Question], tokens: Tokens, *, batch_tokens: int = BATCH_TOKENS
    ) -> None:
        self._questions = questions
        rows = [
            tuple(
                _row(question.context, choice, tokens, f"task {task}, example {at}")
                for choice in question.choices
            )
            for at, question in enumerate(questions)
        ]
        self._rows = rows
        answers = [(question.choices, question.answer) for question in questions]
        super().__init__(task, f"multiple choice 1 {answers!r}", rows, tokens.input_name, batch_tokens)

    @classmethod
    def read(cls, path: Path, tokens: Tokens, *, limit: int | None) -> MultipleChoiceScorer:
        """Make the task of a JSON Lines file.

        Args:
            path: Objects with `question` (or `context`), `choices`, and `answer`: a choice or its number.
            tokens: The model's tokens.
            limit: Most examples used; None for all.

        Returns:
            The task.
        """
        questions = [_question(row, where) for where, row in json_lines(path).items()]
        return cls(f"choice:{path.name}", questions[:limit], tokens)

    def values(self, examples: Sequence[int], nats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Compare the choices of each example.

        Args:
            examples: Example numbers. [B]
            nats: −ln p of each choice, summed over its tokens. [B] of [choices]

        Returns:
            Accuracy, accuracy by log-likelihood a character (each 0 or 1), and loss in nat a token. each [B]
        """
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


def _row(context: str, choice: str, tokens: Tokens, where: str) -> Row:
    # White space at the end of the context belongs to the continuation: tokenizers put it before the word.
    stem = context.rstrip()
    joint = context[len(stem) :] or ("" if not context or choice[:1].isspace() else " ")
    before = tokens.encode(stem) if stem else []
    whole = tokens.encode(stem + joint + choice)
    scored = len(whole) - len(before)
    if not before:
        whole = [*tokens.start, *whole]
        scored = min(scored, len(whole) - 1)
    if not 1 <= scored <= tokens.context:
        raise DataError(
            f"{where}: the choice {choice!r:.60} has {scored} tokens to predict, wanted 1 to {tokens.context}"
        )
    return Row(tuple(whole[-(tokens.context + 1) :]), scored)


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
    return Question(context, tuple(choices), answer)
