"""The similarity baseline: pick the datasets that look most like the target, without training anything."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from m2m.errors import InputError
from m2m.scoring.tasks.mode import scoring
from m2m.setups.protocol import Examples, Setup

#: Examples that stand for a dataset: enough for its mean embedding, whatever its size.
MOST_EXAMPLES = 512


def similarities(
    setup: Setup, model: nn.Module, datasets: Mapping[str, Examples], target: Examples
) -> dict[str, float]:
    """Compare each dataset with the target: cosine of their mean embeddings under the base model.

    Args:
        setup: Knows how to embed.
        model: The module with the base weights θ₀ in it.
        datasets: Training examples by dataset name.
        target: The target's validation examples.

    Returns:
        Cosine similarity by dataset name, in [−1, 1]; 0 for what has no direction.

    Raises:
        InputError: If an embedding is not finite.
    """
    wanted = _mean_embedding(setup, model, target)
    found = {name: _mean_embedding(setup, model, data) for name, data in datasets.items()}
    for name, mean in {"the target": wanted, **found}.items():
        if not mean.isfinite().all():
            raise InputError(f"the base model's embedding of {name} is not finite: no similarity is defined")
    return {name: cosine_similarity(mean, wanted, dim=0).item() for name, mean in found.items()}


def most_similar(
    setup: Setup, model: nn.Module, datasets: Mapping[str, Examples], target: Examples
) -> list[str]:
    """Pick every dataset whose similarity to the target is at least the mean over the datasets.

    Merge to Mix (arXiv 2505.16066) compares with selection by embedding distance but does not say how many
    datasets that selects; the mean as the threshold needs no number to tune and never picks nothing.

    Args:
        setup: Knows how to embed.
        model: The module with the base weights θ₀ in it.
        datasets: Training examples by dataset name.
        target: The target's validation examples.

    Returns:
        Names of the picked datasets, in the order of `datasets`; at least one.
    """
    found = similarities(setup, model, datasets, target)
    total = sum(map(Fraction, found.values()))  # exact: equal similarities are then never below their mean
    return [name for name, value in found.items() if Fraction(value) * len(found) >= total]


def _mean_embedding(setup: Setup, model: nn.Module, examples: Examples) -> Tensor:
    step = max(1, -(-len(examples) // MOST_EXAMPLES))  # evenly spread, in case the examples come sorted
    sample = Examples(examples.take(torch.arange(0, len(examples), step)))
    with scoring(model):
        parts = [setup.embed(model, batch).double().sum(dim=0) for batch in sample.batches(setup.batch_size)]
    return torch.stack(parts).sum(dim=0) / len(sample)
