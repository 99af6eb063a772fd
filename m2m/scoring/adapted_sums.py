"""Merged tensors of experts of which some are adapters: sums of other terms than the experts' tensors.

The terms and their weights are those of `m2m merge` (`m2m.merging.lora.resolve_terms`), so merged models have
its bits. What an adapter adds is formed from its factors whenever it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import MERGEABLE, SIZES, TORCH_NAMES, TensorInfo
from m2m.errors import CheckpointError
from m2m.merging.lora import AdaptedCheckpoint, resolve_terms
from m2m.merging.lora.adapted import Product
from m2m.merging.lora.products import formed_product
from m2m.scoring.live.mapped import mapped_tensors
from m2m.support.arrays import Floats


def adapted_sums(base: Checkpoint, experts: Sequence[Checkpoint]) -> dict[str, AdaptedSum]:
    """Say what every averaged tensor of merged models is a sum of, where an expert is an adapter.

    Args:
        base: θ₀.
        experts: The experts. [N]

    Returns:
        The sums by tensor name; none where all experts are whole models.
    """
    if not any(isinstance(expert, AdaptedCheckpoint) for expert in experts):
        return {}
    names = [name for name, info in base.tensors.items() if info.dtype in MERGEABLE]
    mapped = mapped_tensors(expert.tensors[name] for expert in experts for name in names)
    return {name: AdaptedSum(name, experts, mapped) for name in names}


class AdaptedSum:
    """One tensor of merged models, as `m2m.scoring.live.live_model.OtherSum` wants it.

    Args:
        name: Its name.
        experts: The experts. [N]
        mapped: The tensors of whole models.

    Attributes:
        nbytes: Memory that its terms take while they are summed.

    Raises:
        CheckpointError: If what an adapter adds is not finite.
    """

    def __init__(self, name: str, experts: Sequence[Checkpoint], mapped: Mapping[TensorInfo, Tensor]) -> None:
        self._name, self._experts, self._mapped = name, experts, mapped
        terms = resolve_terms(experts, [name] * len(experts), [[0.0] * len(experts)], on_task_vectors=False)
        self._sources = (*terms.dense, *terms.added)
        kinds = {source.dtype for source in self._sources}
        self._dtype = getattr(torch, TORCH_NAMES[kinds.pop()]) if len(kinds) == 1 else _widest(kinds)
        for source in terms.added:
            _check_finite(source)
        elements = terms.dense[0].elements
        self.nbytes = 0 if not terms.added else len(self._sources) * elements * SIZES["F64"]

    def terms(self, weights: Floats) -> tuple[list[Tensor], Tensor]:
        """Form the terms.

        Args:
            weights: Merging weights of the experts, a row a candidate. [M, N]

        Returns:
            The terms, of one dtype, and their weights, a row a candidate. [D] of [*shape], [M, D]
        """
        names, rows = [self._name] * len(self._experts), weights.tolist()
        found = resolve_terms(self._experts, names, rows, on_task_vectors=False)
        formed = [self._formed(source).to(self._dtype) for source in self._sources]
        return formed, torch.tensor(found.weights, dtype=torch.float64)

    def _formed(self, source: TensorInfo | Product) -> Tensor:
        if isinstance(source, Product):
            return formed_product(source)
        return self._mapped[source] if source in self._mapped else read_tensor(source)


def _widest(kinds: set[str]) -> torch.dtype:
    # Sums of several types are formed in the widest accumulation type.
    return torch.float64 if "F64" in kinds else torch.float32


def _check_finite(source: TensorInfo | Product) -> None:
    parts = (source.left, source.right) if isinstance(source, Product) else (source,)
    for part in parts:
        if not torch.isfinite(read_tensor(part)).all():
            raise CheckpointError(f"{part.file}: {part.name!r} is not finite")
