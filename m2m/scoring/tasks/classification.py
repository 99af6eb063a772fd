"""Classification: does the model give the right class the largest logit?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from m2m.checkpoint import Checkpoint
from m2m.errors import DataError
from m2m.scoring.tasks.inputs import Tokens, text_of
from m2m.scoring.tasks.labelled import LABEL, class_numbers, labelled_rows
from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch, at_least_float32
from m2m.scoring.tasks.task_options import first
from m2m.setups.protocol import Examples, logits_of

#: Examples a batch.
BATCH_SIZE = 32


class ClassificationScorer(BatchedScorer):
    """Accuracy, and cross-entropy of the right class in nat.

    Args:
        task: Name of the task.
        inputs: Keyword arguments of the model's forward. each [E, ...]
        labels: Class numbers from 0, int64. [E]
        batch_size: Examples a batch.

    Raises:
        DataError: If there are no examples, or no inputs, or their numbers differ.
    """

    split = "validation"
    metrics: Mapping[str, bool] = {"accuracy": True, "loss": False}

    def __init__(
        self, task: str, inputs: Mapping[str, Tensor], labels: Tensor, *, batch_size: int = BATCH_SIZE
    ) -> None:
        lengths = {
            name: len(field) if field.dim() else 0 for name, field in {**inputs, LABEL: labels}.items()
        }
        if not inputs or len(set(lengths.values())) != 1 or not len(labels):
            raise DataError(f"task {task}: wanted inputs and labels of as many examples, got {lengths}")
        self.task, self.count = task, len(labels)
        self._names = tuple(inputs)
        self._examples = Examples((*inputs.values(), labels.long()))
        self._batch_size = batch_size
        self.version = content_hash(inputs, labels, "classification 1")

    @classmethod
    def read(cls, path: Path, tokens: Tokens | None, *, limit: float | None) -> ClassificationScorer:
        """Make the task of a file.

        Args:
            path: JSON Lines or CSV with `text` and `label`, a class's number from 0 or its name; or a
                safetensors file with `label` [E] and the keyword arguments of the model's forward, each
                [E, ...].
            tokens: The model's tokens; None will do for tensors.
            limit: Most examples used; None for all.

        Returns:
            The task.

        Raises:
            DataError: If a label is no class.
        """
        task = f"classify:{path.name}"
        if path.suffix == ".safetensors":
            fields = Checkpoint(path).state()
            labels = fields.pop(LABEL, torch.empty(0))
            if labels.dim() != 1 or labels.is_floating_point() or not len(labels) or int(labels.min()) < 0:
                raise DataError(f"{path}: wanted class numbers from 0 in a tensor `{LABEL}` [E], int64")
            return cls(
                task, {name: first(field, limit) for name, field in fields.items()}, first(labels, limit)
            )
        if tokens is None:
            raise DataError(f"{path}: text needs a model with a tokenizer (a Hugging Face folder)")
        items = labelled_rows(path, limit)
        texts = [tokens.encode(text_of(item.row, ("text",), item.where), special=True) for item in items]
        labels = torch.tensor(class_numbers(items, tokens.classes))
        return cls(task, _padded(texts, tokens), labels)

    @property
    def contents(self) -> list[str]:
        """Hash of each example's inputs. [E]."""
        *inputs, _ = self._examples.tensors
        rows = zip(
            *(field.contiguous().flatten(1 if field.dim() > 1 else 0) for field in inputs), strict=True
        )
        return [hashlib.sha256(b"".join(map(_bytes, row))).hexdigest() for row in rows]

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches; the reference is the labels."""
        chosen = self._examples
        if examples is not None:
            chosen = Examples(chosen.take(torch.as_tensor(examples, dtype=torch.int64)))
        for *inputs, labels in chosen.batches(self._batch_size):
            yield TaskBatch(dict(zip(self._names, inputs, strict=True)), {LABEL: labels})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge the logits [B, K] of a batch; an error if a label is not below K. each [B]."""
        logits = logits_of(output)
        if logits.dim() != 2:
            raise DataError(
                f"task {self.task}: wanted a model with a number a class, [examples, classes], got outputs "
                f"{list(logits.shape)}: a language model that predicts every token answers by `choice`"
            )
        labels = batch.reference[LABEL].to(logits.device)
        if int(labels.max()) >= logits.shape[-1]:
            raise DataError(
                f"task {self.task}: label {int(labels.max())}, but the model knows {logits.shape[-1]} classes"
            )
        correct = (logits.argmax(dim=-1) == labels).double()
        return {
            "accuracy": correct,
            "loss": functional.cross_entropy(at_least_float32(logits), labels, reduction="none"),
        }


def _padded(texts: Sequence[Sequence[int]], tokens: Tokens) -> dict[str, Tensor]:
    # On the right, with a mask: a model that reads both ways must be told where a text ends.
    width = min(tokens.context, max(len(text) for text in texts))
    ids = torch.full((len(texts), width), tokens.pad)
    mask = torch.zeros_like(ids)
    for at, text in enumerate(texts):
        kept = torch.tensor(text[:width], dtype=torch.int64)
        ids[at, : len(kept)], mask[at, : len(kept)] = kept, 1
    return {tokens.input_name: ids, "attention_mask": mask}


def content_hash(inputs: Mapping[str, Tensor], labels: Tensor, kind: str) -> str:
    """Hash examples, and the name and revision of how they are judged: the version of a task."""
    digest = hashlib.sha256(kind.encode())
    for name, field in {**inputs, LABEL: labels}.items():
        digest.update(f"\n{name} {tuple(field.shape)} {field.dtype}\n".encode())
        digest.update(_bytes(field))
    return digest.hexdigest()[:16]


def _bytes(field: Tensor) -> bytes:
    content: bytes = field.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return content
