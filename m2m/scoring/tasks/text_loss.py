"""Language-model loss on a text: how many nat a token, how many bits a byte."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks.json_lines import json_lines, read_text, text_of
from m2m.scoring.tasks.likelihood import BATCH_TOKENS, LikelihoodScorer, Row
from m2m.scoring.tasks.tokens import Tokens


class TextLossScorer(LikelihoodScorer):
    r"""Documents cut into windows that slide by `stride`: every token is predicted once.

    An example is a window. Its loss is :math:`E \sum_{t \in e} -\ln p_t / T`, with E windows and T scored
    tokens in all, so that the mean over the windows is exactly the text's loss in nat a token, whatever the
    windows' lengths; `bits_per_byte` likewise divides bits by the text's bytes of UTF-8.

    Args:
        task: Name of the task.
        documents: The texts; a window never spans two.
        tokens: The model's tokens.
        stride: New tokens a window after the first; the rest is context. None: the whole window is new.
        limit: Most windows used; None for all.
        batch_tokens: Most tokens a batch.

    Raises:
        ConfigError: If the stride is not in [1, context].
        DataError: If no token can be predicted.
    """

    metrics: Mapping[str, bool] = {"loss": False, "bits_per_byte": False}

    def __init__(
        self,
        task: str,
        documents: Sequence[str],
        tokens: Tokens,
        *,
        stride: int | None = None,
        limit: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        step = tokens.context if stride is None else stride
        if not 1 <= step <= tokens.context:
            raise ConfigError(
                f"task {task}: the stride must be from 1 to the context {tokens.context}, got {step}"
            )
        encoded = [[*tokens.start, *tokens.encode(document)] for document in documents]
        rows = [row for document in encoded for row in _windows(document, tokens.context, step)]
        if not rows:
            raise DataError(f"task {task}: the text is too short to predict a token of it")
        used = rows[:limit]
        # A part of the text has its part of the bytes: those of the tokens that are predicted.
        whole = sum(len(document) - len(tokens.start) for document in encoded)
        share = sum(row.scored for row in used) / whole
        self._tokens = sum(row.scored for row in used)
        self._bytes = sum(len(document.encode()) for document in documents) * share
        super().__init__(task, "text loss 1", [(row,) for row in used], tokens.input_name, batch_tokens)

    @classmethod
    def read(cls, path: Path, tokens: Tokens, *, stride: int | None, limit: int | None) -> TextLossScorer:
        """Make the task of a file.

        Args:
            path: A text, one document; or JSON Lines with a document under `text` each.
            tokens: The model's tokens.
            stride: New tokens a window after the first; None: the whole window.
            limit: Most windows used; None for all.

        Returns:
            The task.
        """
        if path.suffix == ".jsonl":
            documents = [text_of(row, ("text",), where) for where, row in json_lines(path).items()]
        else:
            documents = [read_text(path)]
        return cls(f"lm:{path.name}", documents, tokens, stride=stride, limit=limit)

    def values(self, examples: Sequence[int], nats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Scale each window's loss so that the mean over the windows is the text's.

        Args:
            examples: Window numbers. [B]
            nats: −ln p of each window's new tokens, summed. [B] of [1]

        Returns:
            Loss in nat a token, and bits a byte. each [B]
        """
        total = torch.cat(list(nats)) * self.count
        return {"loss": total / self._tokens, "bits_per_byte": total / (self._bytes * math.log(2))}


def _windows(document: Sequence[int], context: int, stride: int) -> list[Row]:
    # A window ends by predicting token `end`; all of the first is new, as it has nothing before it.
    rows, done, end = [], 0, min(context, len(document) - 1)
    while done < len(document) - 1:
        rows.append(Row(tuple(document[max(0, end - context) : end + 1]), end - done))
        done, end = end, min(end + stride, len(document) - 1)
    return rows
