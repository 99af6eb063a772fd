"""From documents to examples: text is packed into windows, a question with its answer is an example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from m2m.errors import DataError
from m2m.setups.protocol import Examples
from m2m.setups.rows.answers import Answered, AnswerRule, Which
from m2m.setups.rows.collection import Collection
from m2m.setups.rows.formats import Chat, Completion
from m2m.support.progress import Progress

#: Examples between two reports of progress.
_EVERY = 256


class TokenModel(Protocol):
    """What examples are made with: a model's tokens."""

    @property
    def context(self) -> int:
        """Longest input, in tokens."""

    @property
    def token_type(self) -> torch.dtype:
        """Type that holds a token."""

    def encode(self, documents: Sequence[str]) -> Tensor:
        """Turn documents into one row of tokens, each document ended."""

    def answered(self, document: Chat | Completion, which: Which) -> Answered:
        """Turn a question with its answer into tokens, and say which are learnt."""


@dataclass(frozen=True)
class Made:
    """Examples, and what they were made from.

    Attributes:
        examples: Windows of tokens [E, context + 1]; or tokens [E, T], filled up on the right, and which of
            them are learnt, bool [E, T].
        format: Which of the two.
        places: Places of the documents that went into them.
        truncated: Examples that were cut.
        dropped: Documents that gave no example.
    """

    examples: Examples
    format: Literal["text", "answers"]
    places: frozenset[float]
    truncated: int = 0
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def tokens(self) -> int:
        """Tokens of all examples; of a window without the first one, which nothing predicts."""
        if self.format == "text":
            return len(self) * (self.examples.tensors[0].shape[1] - 1)
        # Nothing stands after the last answer token, so what comes before it is the example.
        return int(before_last_answer(self.examples.tensors[1]).sum()) + len(self)

    @property
    def answer_tokens(self) -> int:
        """Tokens that are learnt."""
        return self.tokens if self.format == "text" else int(self.examples.tensors[1].sum())


def make_examples(
    model: TokenModel,
    found: Collection,
    rule: AnswerRule,
    most: int | None,
    said: str,
    progress: Progress | None = None,
) -> Made:
    """Make examples of documents that are all text, or all questions with answers.

    Args:
        model: Whose tokens.
        found: The documents.
        rule: What becomes of questions with answers that are too long.
        most: Most examples; None: all there are. Windows taken lie at even distances, of questions with
            answers the first ones are taken (their order is that of their hashes).
        said: Their table, for messages and progress.
        progress: Told about tokenising.

    Returns:
        The examples, perhaps none.

    Raises:
        DataError: If documents are of both kinds.
    """
    if found.is_text:
        windows = _windows(model, found.texts)
        count = len(windows) if most is None else min(most, len(windows))
        return Made(Examples((_spread(windows, count),)), "text", frozenset(found.documents))
    if found.texts:
        raise DataError(
            f"{said}: some of its documents are text, some questions with answers; wanted one kind"
        )
    return _answers(model, found, rule, most, said, progress)


def _windows(model: TokenModel, texts: Sequence[str]) -> Tensor:
    # Windows overlap by one token: the last that one predicts is the first that the next predicts from.
    tokens = model.encode(texts)
    if len(tokens) <= model.context:
        return tokens.new_empty(0, model.context + 1)
    return tokens.unfold(0, model.context + 1, model.context)


def _spread(windows: Tensor, count: int) -> Tensor:
    # At even distances, so that few examples still come from many documents.
    return windows[torch.arange(count) * len(windows) // max(count, 1)].contiguous()


def _answers(
    model: TokenModel,
    found: Collection,
    rule: AnswerRule,
    most: int | None,
    said: str,
    progress: Progress | None,
) -> Made:
    kept: dict[float, tuple[Tensor, Tensor]] = {}
    truncated = dropped = 0
    total = len(found.documents) if most is None else min(most, len(found.documents))
    for place, document in found.documents.items():
        assert not isinstance(document, str)
        whole = model.answered(document, rule.answers).to_last_answer()
        example = rule.cut(whole, model.context + 1)
        if example is None:
            dropped += 1
            continue
        truncated += len(whole.tokens) > model.context + 1
        kept[place] = (torch.tensor(example.tokens, dtype=model.token_type), torch.tensor(example.is_answer))
        if progress is not None and len(kept) % _EVERY == 0 and len(kept) < total:
            progress(len(kept), total, f"tokenising {said}")
        if len(kept) == most:
            break
    if progress is not None and total > _EVERY:
        progress(total, total, f"tokenising {said}")
    width = max((len(tokens) for tokens, _ in kept.values()), default=1)
    fields = [torch.zeros(len(kept), width, dtype=kind) for kind in (model.token_type, torch.bool)]
    for row, example_fields in enumerate(kept.values()):
        for field, values in zip(fields, example_fields, strict=True):
            field[row, : len(values)] = values
    return Made(Examples(tuple(fields)), "answers", frozenset(kept), truncated, dropped)


def batchable(datasets: Mapping[str, Made]) -> dict[str, Examples]:
    """Bring datasets to one form, so that one batch can hold examples of several.

    Args:
        datasets: Examples by dataset name.

    Returns:
        Windows alone where all are text; else tokens [E, T] of one width T, and which are learnt [E, T].
    """
    if all(made.format == "text" for made in datasets.values()):
        return {name: made.examples for name, made in datasets.items()}
    width = max(made.examples.tensors[0].shape[1] for made in datasets.values())
    return {name: _filled_up(made, width) for name, made in datasets.items()}


def _filled_up(made: Made, width: int) -> Examples:
    tokens = made.examples.tensors[0]
    learnt = torch.arange(tokens.shape[1]).expand(tokens.shape) > 0
    if made.format == "answers":
        learnt = made.examples.tensors[1]
    more = (0, width - tokens.shape[1])
    return Examples(tuple(torch.nn.functional.pad(field, more) for field in (tokens, learnt)))


def longest(is_answer: Tensor) -> int:
    """Count the tokens of the longest example: up to its last answer token; bool [B, T]."""
    return int(is_answer.any(0).nonzero()[-1]) + 1


def before_last_answer(is_answer: Tensor) -> Tensor:
    """Say which tokens come before the last answer token of their example; bool [B, T]."""
    answers_from_here = is_answer.int().flip(1).cumsum(1).flip(1)
    return answers_from_here - is_answer.int() > 0
