"""A set-up's targets: scored as tasks, and compared with datasets (the similarity baseline)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from m2m.errors import ConfigError, InputError
from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch, scoring
from m2m.setups.protocol import Batch, Examples, Setup
from m2m.support.progress import Progress, nobody

#: Examples that stand for a dataset: a baseline must not cost what the run costs.
MOST_EXAMPLES = 64


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
    setup: Setup,
    model: Callable[[], nn.Module],
    datasets: Mapping[str, Examples],
    targets: Mapping[str, Examples],
    kept: MutableMapping[str, list[float]] | None = None,
    progress: Progress = nobody,
) -> dict[str, dict[str, float]]:
    """Compare each dataset with each target: cosine of their mean embeddings under the base model.

    Args:
        setup: Knows how to embed.
        model: Makes the module with the base weights θ₀ in it; called if something is to be embedded.
        datasets: Training examples by dataset name.
        targets: Validation examples by target name.
        kept: Mean embeddings that were made before, by `dataset NAME` or `target NAME`; new ones are added.
        progress: Called with (done, total, what), in examples.

    Returns:
        Target to dataset to cosine similarity, in [−1, 1]; 0 for what has no direction.

    Raises:
        InputError: If an embedding is not finite.
    """
    means = {} if kept is None else kept
    parts = {f"target {name}": _spread(data) for name, data in targets.items()}
    parts |= {f"dataset {name}": _spread(data) for name, data in datasets.items()}
    missing = {part: sample for part, sample in parts.items() if part not in means}
    done, total = 0, sum(map(len, missing.values()))
    live = model() if missing else None
    for part, sample in missing.items():
        assert live is not None
        summed = torch.zeros((), dtype=torch.float64)
        for batch in sample.batches(setup.batch_size):
            with scoring(live):
                summed = summed + setup.embed(live, batch).double().sum(dim=0)
            done += len(batch[0])
            progress(done, total, "similarity of datasets and targets")
        if not summed.isfinite().all():
            raise InputError(f"the base model's embedding of {part} is not finite: no similarity is defined")
        means[part] = (summed / len(sample)).tolist()
    vectors = {part: torch.tensor(means[part], dtype=torch.float64) for part in parts}
    return {
        target: {
            name: cosine_similarity(vectors[f"dataset {name}"], vectors[f"target {target}"], dim=0).item()
            for name in datasets
        }
        for target in targets
    }


def _spread(examples: Examples) -> Examples:
    step = max(1, -(-len(examples) // MOST_EXAMPLES))  # evenly spread, in case the examples come sorted
    return Examples(examples.take(torch.arange(0, len(examples), step)))


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
