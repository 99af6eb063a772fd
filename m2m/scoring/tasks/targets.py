"""A set-up's targets: scored as tasks, and compared with datasets (the similarity baseline)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from m2m.errors import ConfigError, InputError
from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch, scoring
from m2m.setups.protocol import Batch, Examples, Setup

#: Examples that stand for a dataset: enough for its mean embedding, whatever its size.
MOST_EXAMPLES = 512


class TargetScorer(BatchedScorer):
    """A set-up's target as a task (see `BatchedScorer`): each metric of each of its examples.

    Args:
        setup: The set-up that has the target.
        target: The target's name.
        split: `validation` to choose on, `test` for finished models.

    Attributes:
        task: The target's name.
        split: The split's name.
        version: The set-up's content hash.
        metrics: The set-up's metrics.
        count: Number of the split's examples E.

    Raises:
        ConfigError: If there is no such target or split, or it has no examples.
    """

    def __init__(self, setup: Setup, target: str, split: str = "validation") -> None:
        if target not in setup.targets:
            raise ConfigError(f"no target {target!r}; the set-up has {list(setup.targets)}")
        if split not in ("validation", "test"):
            raise ConfigError(f"a target is scored on 'validation' or 'test', got {split!r}")
        self.task, self.split, self.version, self.metrics = target, split, setup.version, setup.metrics
        self._setup = setup
        self._examples: Examples = getattr(setup.targets[target], split)
        self.count = len(self._examples)
        if not self.count:
            raise ConfigError(f"target {target!r} has no {split} examples")

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches of the set-up's size; the reference is its fields, by number."""
        chosen = self._examples if examples is None else self._chosen(examples)
        for fields in chosen.batches(self._setup.batch_size):
            yield TaskBatch(self._setup.inputs(fields), {str(at): field for at, field in enumerate(fields)})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge by the set-up's metrics. each [B]."""
        fields: Batch = tuple(batch.reference.values())
        return self._setup.judge(output, fields)

    def _chosen(self, examples: Sequence[int]) -> Examples:
        return Examples(self._examples.take(torch.as_tensor(examples, dtype=torch.int64)))


def similarities(
    setup: Setup, model: nn.Module, datasets: Mapping[str, Examples], targets: Mapping[str, Examples]
) -> dict[str, dict[str, float]]:
    """Compare each dataset with each target: cosine of their mean embeddings under the base model.

    Args:
        setup: Knows how to embed.
        model: The module with the base weights θ₀ in it.
        datasets: Training examples by dataset name.
        targets: Validation examples by target name.

    Returns:
        Target to dataset to cosine similarity, in [−1, 1]; 0 for what has no direction.

    Raises:
        InputError: If an embedding is not finite.
    """
    of_targets = {name: _mean_embedding(setup, model, data) for name, data in targets.items()}
    of_datasets = {name: _mean_embedding(setup, model, data) for name, data in datasets.items()}
    for kind, means in {"target": of_targets, "dataset": of_datasets}.items():
        for name, mean in means.items():
            if not mean.isfinite().all():
                raise InputError(
                    f"the base model's embedding of {kind} {name} is not finite: no similarity is defined"
                )
    return {
        target: {name: cosine_similarity(mean, wanted, dim=0).item() for name, mean in of_datasets.items()}
        for target, wanted in of_targets.items()
    }


def most_similar(found: Mapping[str, float]) -> list[str]:
    """Pick every dataset whose similarity to a target is at least the mean over the datasets.

    Merge to Mix (arXiv 2505.16066) compares with selection by embedding distance but does not say how many
    datasets that selects; the mean as the threshold needs no number to tune and never picks nothing.

    Args:
        found: Similarity by dataset name.

    Returns:
        Names of the picked datasets, in the order of `found`; at least one.
    """
    total = sum(map(Fraction, found.values()))  # exact: equal similarities are then never below their mean
    return [name for name, value in found.items() if Fraction(value) * len(found) >= total]


def _mean_embedding(setup: Setup, model: nn.Module, examples: Examples) -> Tensor:
    step = max(1, -(-len(examples) // MOST_EXAMPLES))  # evenly spread, in case the examples come sorted
    sample = Examples(examples.take(torch.arange(0, len(examples), step)))
    with scoring(model):
        parts = [setup.embed(model, batch).double().sum(dim=0) for batch in sample.batches(setup.batch_size)]
    return torch.stack(parts).sum(dim=0) / len(sample)
