"""A language-model task over tokens made from a seed: each row's mean loss, in nat/token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch


class TokenTask(BatchedScorer):
    """E rows of T tokens; the last batch may be shorter."""

    task, split, version, metrics = "tokens", "validation", "1", {"loss": False}

    def __init__(
        self,
        count: int = 5,
        length: int = 12,
        vocabulary: int = 64,
        size: int = 2,
        keyword: str = "input_ids",
    ) -> None:
        generator = torch.Generator().manual_seed(7)
        self.tokens = torch.randint(0, vocabulary, (count, length + 1), generator=generator)
        self.count, self.size, self.keyword = count, size, keyword

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        rows = self.tokens if examples is None else self.tokens[list(examples)]
        for part in rows.split(self.size):
            yield TaskBatch({self.keyword: part[:, :-1]}, {"next": part[:, 1:]})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        logits = getattr(output, "logits", output).float()
        losses = functional.cross_entropy(logits.transpose(1, 2), batch.reference["next"], reduction="none")
        return {"loss": losses.mean(dim=1)}


class ImageTask(BatchedScorer):
    """E images of 3 × 8 × 8 and their labels: accuracy and loss."""

    task, split, version, metrics = "images", "validation", "1", {"accuracy": True, "loss": False}

    def __init__(self, count: int = 5, size: int = 2) -> None:
        generator = torch.Generator().manual_seed(7)
        self.images = torch.randn(count, 3, 8, 8, generator=generator)
        self.labels = torch.randint(0, 5, (count,), generator=generator)
        self.count, self.size = count, size

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        for part in torch.arange(self.count).split(self.size):
            yield TaskBatch({"input": self.images[part]}, {"label": self.labels[part]})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        label = batch.reference["label"]
        loss = functional.cross_entropy(output, label, reduction="none")
        return {"accuracy": (output.argmax(dim=1) == label).double(), "loss": loss}
