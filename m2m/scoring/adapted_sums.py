"""Merged tensors of experts of which some are adapters: sums of other terms than the experts' tensors.

The terms and their weights are those of `m2m merge` (`m2m.merging.lora.resolve_terms`), so merged models have
its bits. What an adapter adds is formed from its factors piece by piece, once for all candidates of a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import MERGEABLE, SIZES, TensorInfo
from m2m.errors import CheckpointError
from m2m.merging.lora import AdaptedCheckpoint, resolve_terms
from m2m.merging.lora.additions import AdaptedTensor, Product, StackedProduct
from m2m.merging.lora.products import Term, formed, read_term, sum_terms_into
from m2m.merging.vocabulary.gathered import GatheredTensor
from m2m.ops import accumulation_dtype, weighted_sum_into
from m2m.scoring.live.mapped import mapped_tensors
from m2m.support.arrays import Floats

#: What a merged tensor is a sum of.
_Source = TensorInfo | Product | StackedProduct | AdaptedTensor | GatheredTensor


def adapted_sums(
    base: Checkpoint, experts: Sequence[Checkpoint], *, base_first: bool = False
) -> dict[str, AdaptedSum]:
    """Say what every averaged tensor of merged models is a sum of, where an expert is an adapter.

    Args:
        base: θ₀.
        experts: The experts. [N]
        base_first: Whether the first of them is the base model, beside which the others have weights that
            need not sum to one.

    Returns:
        The sums by tensor name; none where all experts are whole models.
    """
    if not any(isinstance(expert, AdaptedCheckpoint) for expert in experts):
        return {}
    names = [name for name, info in base.tensors.items() if info.dtype in MERGEABLE]
    mapped = mapped_tensors(expert.tensors[name] for expert in experts for name in names)
    return {name: AdaptedSum(name, experts, mapped, base_first=base_first) for name in names}


class AdaptedSum:
    """One tensor of merged models, as `m2m.scoring.live.live_model.OtherSum` wants it.

    Args:
        name: Its name.
        experts: The experts. [N]
        mapped: The tensors of whole models.
        base_first: Whether the first of the experts is the base model.

    Attributes:
        nbytes: Memory that its terms take while they are summed.

    Raises:
        CheckpointError: If what an adapter adds is not finite.
    """

    def __init__(
        self,
        name: str,
        experts: Sequence[Checkpoint],
        mapped: Mapping[TensorInfo, Tensor],
        *,
        base_first: bool = False,
    ) -> None:
        self._name, self._experts, self._mapped, self._base_first = name, experts, mapped, base_first
        terms = resolve_terms(experts, [name] * len(experts), [[0.0] * len(experts)], on_task_vectors=False)
        self._sources = (*terms.dense, *terms.added)
        formed = [source for source in terms.dense if isinstance(source, AdaptedTensor)]
        for source in (*terms.added, *formed):
            _check_finite(source)
        self._pieces = [*terms.pieces()]  # experts of a mixture are summed one by one
        self._products = [source for source in self._pieces[0].added if isinstance(source, Product)]
        elements = experts[0].tensors[name].elements
        self.nbytes = sum(product.factor_bytes for product in self._products)
        self.nbytes += 2 * len(formed) * elements * SIZES["F64"]
        if not self._products and len({source.dtype for source in self._sources}) > 1:
            self.nbytes += len(self._sources) * elements * SIZES["F64"]

    def write(self, outs: Sequence[Tensor], weights: Floats, threads: int | None) -> None:
        """Merge into tensors in host memory.

        Args:
            outs: Contiguous, of one dtype; overwritten. [M] of [*shape]
            weights: Merging weights of the experts, a row a candidate. [M, N]
            threads: CPU threads; None for the kernel's own choice.
        """
        matrix = torch.tensor([self._row(row) for row in weights.tolist()], dtype=torch.float64)
        if self._products:
            for at, piece in enumerate(self._pieces):
                terms = [self._term(source) for source in (*piece.dense, *piece.added)]
                own = outs if len(self._pieces) == 1 else [out[at : at + 1] for out in outs]
                sum_terms_into(own, terms, matrix, threads=threads)
            return
        weighted_sum_into(outs, self._tensors(), matrix, threads=threads)

    def _row(self, weights: list[float]) -> tuple[float, ...]:
        # Of task vectors where the base model has a weight: what adapters stand on cancels there exactly.
        names, on_task_vectors = [self._name] * len(self._experts), self._base_first and weights[0] != 0
        row = weights[1:] if on_task_vectors else weights
        return resolve_terms(self._experts, names, [row], on_task_vectors=on_task_vectors).weights[0]

    def _term(self, source: _Source) -> Term:
        if isinstance(source, AdaptedTensor):
            return formed(source)
        assert not isinstance(source, GatheredTensor)  # rows are gathered in merges alone
        known = self._mapped.get(source) if isinstance(source, TensorInfo) else None
        return read_term(source) if known is None else known

    def _tensors(self) -> list[Tensor]:
        # Those of several types are summed in the widest accumulation type.
        found = [term for term in map(self._term, self._sources) if isinstance(term, Tensor)]
        kinds = {tensor.dtype for tensor in found}
        if len(kinds) == 1:
            return found
        wide = max(map(accumulation_dtype, kinds), key=lambda kind: kind.itemsize)
        return [tensor.to(wide) for tensor in found]


def _check_finite(source: TensorInfo | Product | StackedProduct | AdaptedTensor) -> None:
    if isinstance(source, StackedProduct):
        for product in source.products:
            _check_finite(product)
        return
    if isinstance(source, AdaptedTensor):
        _check_finite(source.added)
        assert source.magnitudes is not None
        source = source.magnitudes
    parts = (source.left, source.right) if isinstance(source, Product) else (source,)
    for part in parts:
        if not torch.isfinite(read_tensor(part)).all():
            raise CheckpointError(f"{part.file}: {part.name!r} is not finite")
