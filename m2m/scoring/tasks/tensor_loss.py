"""Loss of labels, given whatever else a model reads: pictures or sound beside text, prepared as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.heads import Head
from m2m.errors import DataError
from m2m.scoring.tasks.classification import content_hash
from m2m.scoring.tasks.inputs import Tokens, require_head
from m2m.scoring.tasks.rows import NOTHING
from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch, at_least_float32
from m2m.scoring.tasks.task_options import first
from m2m.setups.protocol import logits_of

#: Name of the tokens to predict among a file's tensors, as transformers' forwards have it.
LABELS = "labels"
#: Examples a batch.
BATCH_SIZE = 4


class TensorLossScorer(BatchedScorer):
    r"""Cross-entropy of tokens in nat, for models of transformers that are given `labels`.

    An example's loss is :math:`E \sum_{t \in e} -\ln p_t / T`, with E examples and T tokens that count, so
    that the mean over the examples is the loss that transformers computes from all of them at once.

    Args:
        task: Name of the task.
        inputs: Keyword arguments of the model's forward. each [E, ...]
        labels: The tokens, and `NOTHING` where none counts, int64. [E, T]
        head: The model's. A causal one predicts a token from those before it; a decoder is given the labels.

    Raises:
        DataError: If the numbers of examples differ, or no token counts.
    """

    split = "validation"
    metrics: Mapping[str, bool] = {"loss": False}

    def __init__(self, task: str, inputs: Mapping[str, Tensor], labels: Tensor, head: Head) -> None:
        counts = {name: field.shape[:1] for name, field in inputs.items()}
        if labels.dim() != 2 or labels.is_floating_point() or {*counts.values()} != {labels.shape[:1]}:
            raise DataError(
                f"task {task}: wanted `{LABELS}` [E, T], whole numbers, and arguments of the forward of as "
                f"many examples; got {LABELS} {[*labels.shape]} {labels.dtype}, "
                f"{ {name: [*field.shape] for name, field in inputs.items()} }"
            )
        labels = labels.long()
        causal = head is Head.CAUSAL
        self._inputs = dict(inputs) if causal else {**inputs, LABELS: labels}
        self._targets = functional.pad(labels[:, 1:], (0, 1), value=NOTHING) if causal else labels
        self._tokens = int((self._targets != NOTHING).sum())
        if not self._tokens:
            raise DataError(f"task {task}: there is no token to predict")
        self.task, self.count = task, len(labels)
        self.version = content_hash(self._inputs, self._targets, "tensor loss 1")

    @classmethod
    def read(cls, path: Path, tokens: Tokens, *, limit: float | None) -> TensorLossScorer:
        """Make the task of a safetensors file.

        Args:
            path: `labels` [E, T], and the other keyword arguments of the model's forward, each [E, ...].
            tokens: What is known of the model.
            limit: Most examples used; None for all.

        Returns:
            The task.
        """
        task = f"lm:{path.name}"
        require_head(task, tokens, Head.CAUSAL, Head.ENCODER_DECODER, Head.SPEECH)
        fields = {name: first(field, limit) for name, field in Checkpoint(path).state().items()}
        return cls(task, fields, fields.pop(LABELS, torch.empty(0)), tokens.head)

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches; the reference: the tokens that each place predicts."""
        chosen = list(range(self.count) if examples is None else examples)
        for at in range(0, len(chosen), BATCH_SIZE):
            part = torch.tensor(chosen[at : at + BATCH_SIZE])
            inputs = {name: field[part] for name, field in self._inputs.items()}
            yield TaskBatch(inputs, {"targets": self._targets[part]})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge the logits [B, T, V] of a batch by the likelihood of the targets. [B]."""
        logits = logits_of(output)
        targets = batch.reference["targets"].to(logits.device)
        if logits.dim() != 3 or logits.shape[:2] != targets.shape:
            raise DataError(
                f"task {self.task}: wanted logits for {LABELS} {[*targets.shape]}, got {[*logits.shape]}"
            )
        nats = functional.cross_entropy(
            at_least_float32(logits).transpose(1, 2), targets, ignore_index=NOTHING, reduction="none"
        )
        return {"loss": nats.double().sum(1) * self.count / self._tokens}
