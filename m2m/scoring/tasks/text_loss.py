"""Text loss: how likely a language model finds whole texts, or how texts go on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m2m.checkpoint.heads import Head
from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks.inputs import PREDICT_TEXT, Tokens, json_lines, read_text, require_head, text_of
from m2m.scoring.tasks.likelihood import BATCH_TOKENS, LikelihoodScorer
from m2m.scoring.tasks.rows import Row, answer, windows
from m2m.scoring.tasks.task_options import first
from m2m.setups.rows.formats import Completion


class TextLossScorer(LikelihoodScorer):
    r"""Texts cut into windows that slide by `stride`, where every token is predicted once; or completions.

    An example is a window, or a completion given its prompt. Its loss is
    :math:`E \sum_{t \in e} -\ln p_t / T`, with E examples and T scored tokens in all, so that the mean over
    the examples is exactly the loss in nat a token, whatever their lengths; `bits_per_byte` likewise divides
    bits by the bytes of UTF-8 of what is predicted.

    Args:
        task: Name of the task.
        documents: Texts, and completions with their prompts; a window never spans two.
        tokens: The model's tokens.
        stride: New tokens a window after the first; the rest is context. None: the whole window is new.
        limit: Most examples used; None for all.
        batch_tokens: Most tokens a batch.

    Raises:
        ConfigError: If the stride is not in [1, context], or the model is none that predicts text.
        DataError: If no token can be predicted, or a completion does not fit.
    """

    metrics: Mapping[str, bool] = {"loss": False, "bits_per_byte": False}

    def __init__(
        self,
        task: str,
        documents: Sequence[str | Completion],
        tokens: Tokens,
        *,
        stride: int | None = None,
        limit: float | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        require_head(task, tokens, *PREDICT_TEXT)
        step = tokens.context if stride is None else stride
        if not 1 <= step <= tokens.context:
            raise ConfigError(
                f"task {task}: the stride must be from 1 to the context {tokens.context}, got {step}"
            )
        found = [_rows(document, tokens, step) for document in documents]
        rows = [row for of_one, _, _ in found for row in of_one]
        if not rows:
            raise DataError(f"task {task}: the text is too short to predict a token of it")
        used = first(rows, limit)
        self._tokens = sum(row.scored for row in used)
        # A part of the text has its part of the bytes: those of the tokens that are predicted.
        share = self._tokens / sum(count for _, count, _ in found)
        self._bytes = sum(size for _, _, size in found) * share
        super().__init__(task, "text loss 1", [(row,) for row in used], tokens, batch_tokens)

    @classmethod
    def read(cls, path: Path, tokens: Tokens, *, stride: int | None, limit: float | None) -> TextLossScorer:
        """Make the task of a file.

        Args:
            path: A text, one document; or JSON Lines with a document under `text` each, or with `prompt` and
                `completion`.
            tokens: The model's tokens.
            stride: New tokens a window.
            limit: Most examples used; None for all.

        Returns:
            The task.
        """
        documents: list[str | Completion]
        if path.suffix == ".jsonl":
            documents = [_document(row, where) for where, row in json_lines(path).items()]
        else:
            documents = [read_text(path)]
        return cls(f"lm:{path.name}", documents, tokens, stride=stride, limit=limit)

    def values(self, examples: Sequence[int], nats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Scale each example's loss so that the mean over the examples is that of all tokens. each [B]."""
        total = torch.cat(list(nats)) * self.count
        return {"loss": total / self._tokens, "bits_per_byte": total / (self._bytes * math.log(2))}


def _document(row: Mapping[str, Any], where: str) -> str | Completion:
    if "completion" not in row:
        return text_of(row, ("text",), where)
    return Completion(text_of(row, ("prompt",), where), text_of(row, ("completion",), where), where)


def _rows(document: str | Completion, tokens: Tokens, stride: int) -> tuple[list[Row], int, int]:
    # The rows, the tokens that they are of, and the bytes of these.
    if isinstance(document, Completion):
        row = answer(document, tokens)
        return [row], row.scored, len(document.completion.encode())
    start = () if tokens.head is Head.ENCODER_DECODER else tokens.start
    own = tokens.encode(document)
    return windows([*start, *own], tokens, stride), len(own), len(document.encode())
