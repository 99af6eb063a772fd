"""Semantic textual similarity: do the vectors of two texts lie as close as people find the texts?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from m2m.checkpoint.heads import Head
from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks.inputs import Tokens, require_head, text_of
from m2m.scoring.tasks.labelled import rows_of
from m2m.scoring.tasks.rows import padded
from m2m.scoring.tasks.scorer import Scores, TaskBatch, at_least_float32, device_of, output_of, scoring
from m2m.scoring.tasks.task_options import first
from m2m.support.arrays import Floats
from m2m.support.csv_tables import number

#: Texts a batch.
BATCH_SIZE = 32


@runtime_checkable
class Embeds(Protocol):
    """What a task needs to know of a model that turns texts into vectors, besides its tokens."""

    @property
    def pooling(self) -> str:
        """What is made of the tokens' vectors: their `mean`, `max`, the `first` or the `last`."""

    def embedded(self, text: str) -> list[int]:
        """Turn a text into token numbers, as many as the model takes, with what is put around it."""


@dataclass(frozen=True)
class Pair:
    """Two texts, and how close people find them: any number, larger is closer."""

    texts: tuple[str, str]
    score: float


class SimilarityScorer:
    r"""Spearman's correlation of the cosine of two texts' vectors with people's scores (see `Scorer`).

    An example is a pair. Its value is the product of the two ranks, each less its mean and divided by its
    standard deviation, so that the mean over the pairs is exactly Spearman's ρ; ties have their mean rank.

    Args:
        task: Name of the task.
        pairs: The examples.
        model: What turns texts into tokens, and tokens' vectors into one.

    Attributes:
        version: Hash of the pairs' tokens and scores, and of the pooling.
        count: Number of pairs E.

    Raises:
        ConfigError: If the model gives no vectors.
        DataError: If the pairs' scores are all the same.
    """

    split = "validation"
    metrics: Mapping[str, bool] = {"spearman": True}

    def __init__(self, task: str, pairs: Sequence[Pair], model: Tokens) -> None:
        require_head(task, model, Head.BARE)
        if not isinstance(model, Embeds):
            raise ConfigError(f"the task {task} needs a Hugging Face folder of a sentence embedder")
        self._wanted = np.array([pair.score for pair in pairs])
        if len({*self._wanted.tolist()}) < 2:
            raise DataError(
                f"task {task}: all {len(pairs)} pairs have the same score: there is no order to find"
            )
        self.task, self.count, self._pooling = task, len(pairs), model.pooling
        self._ids = [model.embedded(text) for pair in pairs for text in pair.texts]
        content = repr((self._pooling, self._ids, self._wanted.tolist()))
        self.version = hashlib.sha256(f"similarity 1 {content}".encode()).hexdigest()[:16]

    @classmethod
    def read(cls, path: Path, model: Tokens, *, limit: float | None) -> SimilarityScorer:
        """Make the task of a table (JSON Lines, CSV) with `sentence1`, `sentence2` and `score`."""
        pairs = [_pair(row, where) for where, row in first(list(rows_of(path).items()), limit)]
        return cls(f"sts:{path.name}", pairs, model)

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now; its weights and modes are left as they were."""
        with scoring(model):
            vectors = torch.cat([self._pooled(model, batch) for batch in self._batches(device_of(model))])
        first, second = vectors.view(self.count, 2, -1).unbind(1)
        cosine = torch.nn.functional.cosine_similarity(first, second).cpu().numpy()
        return Scores({"spearman": _standard(cosine) * _standard(self._wanted)})

    def _batches(self, device: torch.device) -> Iterator[TaskBatch]:
        for at in range(0, len(self._ids), BATCH_SIZE):
            ids = self._ids[at : at + BATCH_SIZE]
            mask = padded([[1] * len(row) for row in ids], 0)
            yield TaskBatch({"input_ids": padded(ids, 0), "attention_mask": mask}, {}).to(device)

    def _pooled(self, model: nn.Module, batch: TaskBatch) -> Tensor:
        # float64 [texts, width]
        output: Any = output_of(model, batch, self.task)
        tokens, mask = at_least_float32(output.last_hidden_state).double(), batch.inputs["attention_mask"]
        if self._pooling == "first":
            return tokens[:, 0]
        if self._pooling == "last":
            return tokens[torch.arange(len(tokens), device=tokens.device), mask.sum(1) - 1]
        hidden = mask[..., None] == 0
        if self._pooling == "max":
            return tokens.masked_fill(hidden, -torch.inf).amax(1)
        return tokens.masked_fill(hidden, 0).sum(1) / mask.sum(1, keepdim=True)


def _standard(values: Floats) -> Floats:
    ranks = rankdata(values)
    spread = ranks.std()
    # Vectors that are all the same put the pairs in no order.
    return (ranks - ranks.mean()) / spread if spread else np.zeros_like(ranks)


def _pair(row: Mapping[str, Any], where: str) -> Pair:
    score = row.get("score")
    try:
        value = number(score) if isinstance(score, str) else float(score)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{where}: `score` must be a number, got {score!r:.80}") from None
    return Pair((text_of(row, ("sentence1",), where), text_of(row, ("sentence2",), where)), value)
