"""Classification of a text's words (named entities, parts of speech): is each given its class?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks.classification import BATCH_SIZE, content_hash
from m2m.scoring.tasks.inputs import json_lines
from m2m.scoring.tasks.rows import NOTHING, padded
from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch, at_least_float32
from m2m.scoring.tasks.task_options import first
from m2m.setups.protocol import logits_of
from m2m.support.schema import did_you_mean

#: Columns of the words' classes, by the names that data have.
_LABELS = ("labels", "ner_tags", "tags", "pos_tags")


@runtime_checkable
class ReadsWords(Protocol):
    """What a task needs to know of a model of words, besides its weights."""

    @property
    def classes(self) -> Mapping[str, int]:
        """The number of each class, by name."""

    def words(self, words: Sequence[str]) -> tuple[list[int], list[int | None]]:
        """Turn words into token numbers, with special tokens; and the number of each one's word, or None."""


class TokenClassScorer(BatchedScorer):
    r"""Accuracy, and cross-entropy in nat, of the words' classes; a word is judged at its first token.

    An example is a text. Its value is :math:`E \sum_{w \in e} v_w / W`, with E texts and W words in all, so
    that the mean over the texts is exactly the mean over the words.

    Args:
        task: Name of the task.
        inputs: Keyword arguments of the model's forward. each [E, T]
        labels: Class numbers from 0, and `NOTHING` where none is asked for, int64. [E, T]

    Raises:
        DataError: If no class is asked for.
    """

    split = "validation"
    metrics: Mapping[str, bool] = {"accuracy": True, "loss": False}

    def __init__(self, task: str, inputs: Mapping[str, Tensor], labels: Tensor) -> None:
        self._words = int((labels != NOTHING).sum())
        if not self._words:
            raise DataError(f"task {task}: no word has a class")
        self.task, self.count = task, len(labels)
        self._inputs, self._labels = inputs, labels
        self.version = content_hash(inputs, labels, "token classification 1")

    @classmethod
    def read(cls, path: Path, model: object, *, limit: float | None) -> TokenClassScorer:
        """Make the task of JSON Lines.

        Args:
            path: Rows with `tokens`, a list of words, and `labels` (or `ner_tags`, `tags`), a class of each,
                by name or number; −100 is none.
            model: What reads the words.
            limit: Most texts used; None for all.

        Returns:
            The task.

        Raises:
            ConfigError: If the model reads no words.
        """
        task = f"classify:{path.name}"
        if not isinstance(model, ReadsWords):
            raise ConfigError(f"the task {task} needs a Hugging Face folder with a tokenizer of words")
        ids, labels = [], []
        for where, row in first(list(json_lines(path).items()), limit):
            words, wanted = _row(row, where, model.classes)
            tokens, places = model.words(words)
            ids.append(tokens)
            labels.append(
                [
                    NOTHING if place is None or place == before else wanted[place]
                    for before, place in zip([None, *places], places, strict=False)
                ]
            )
        mask = padded([[1] * len(row) for row in ids], 0)
        return cls(task, {"input_ids": padded(ids, 0), "attention_mask": mask}, padded(labels, NOTHING))

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches; the reference: the words' classes."""
        chosen = list(range(self.count) if examples is None else examples)
        for at in range(0, len(chosen), BATCH_SIZE):
            part = torch.tensor(chosen[at : at + BATCH_SIZE])
            inputs = {name: field[part] for name, field in self._inputs.items()}
            yield TaskBatch(inputs, {"labels": self._labels[part]})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge the logits [B, T, K] of a batch; an error if a label is not below K. each [B]."""
        logits = logits_of(output)
        labels = batch.reference["labels"].to(logits.device)
        if int(labels.max()) >= logits.shape[-1]:
            raise DataError(
                f"task {self.task}: label {int(labels.max())}, but the model knows {logits.shape[-1]} classes"
            )
        counted = labels != NOTHING
        nats = functional.cross_entropy(
            at_least_float32(logits).transpose(1, 2), labels, ignore_index=NOTHING, reduction="none"
        )
        scale = self.count / self._words
        right = (logits.argmax(dim=-1) == labels) & counted
        return {"accuracy": right.double().sum(1) * scale, "loss": nats.double().sum(1) * scale}


def _row(row: Mapping[str, Any], where: str, classes: Mapping[str, int]) -> tuple[list[str], list[int]]:
    words, labels = row.get("tokens"), next((row[key] for key in _LABELS if key in row), None)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise DataError(f"{where}: `tokens` must be a list of words, got {words!r:.80}")
    if not isinstance(labels, list) or len(labels) != len(words):
        raise DataError(
            f"{where}: `labels` must be a list of a class a word ({len(words)}), got {labels!r:.80}"
        )
    return words, [_number(label, where, classes) for label in labels]


def _number(label: object, where: str, classes: Mapping[str, int]) -> int:
    if isinstance(label, str) and label in classes:
        return classes[label]
    if type(label) is int and (label >= 0 or label == NOTHING):
        return label
    raise DataError(
        f"{where}: {label!r:.40} is none of the model's classes{did_you_mean(str(label), classes)}: wanted a "
        f"number from 0 to {len(classes) - 1}, −100 for none, or one of {list(classes)[:5]} …"
    )
