"""Inner products of task vectors of adapters, from their factors: no task vector is ever formed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m2m.errors import CheckpointError
from m2m.merging.lora.adapter import Adapter, Factors

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LoraGram:
    """Gram matrices of the task vectors of N adapters.

    Attributes:
        modules: ⟨τ_n, τ_k⟩ of each adapted weight, float64. each [N, N]
        whole: Their sum. [N, N]
    """

    modules: Mapping[str, Tensor]
    whole: Tensor


def lora_gram(adapters: Sequence[Adapter]) -> LoraGram:
    r"""Compute all inner products of the task vectors of adapters of one base model.

    .. math:: \langle s_n B_n A_n, s_k B_k A_k \rangle = s_n s_k \sum_{ij} (B_n^T B_k)_{ij} (A_n A_k^T)_{ij}

    costs r² (in + out) a pair instead of r · in · out, and holds r × r numbers instead of in × out.
    All is float64.

    Args:
        adapters: The experts. [N]

    Returns:
        The matrices by module, as PEFT names modules, and their sum.

    Raises:
        CheckpointError: If there are no adapters, an adapter is malformed, adds biases or whole tensors
            (which are no products), or shapes differ between adapters.
    """
    import torch

    if not adapters:
        raise CheckpointError("a Gram matrix needs at least one adapter")
    for adapter in adapters:
        if adapter.config.dora or adapter.config.parameters:
            raise CheckpointError(
                f"{adapter.config.path}: scales rows (use_dora) or adapts fused parameters "
                "(target_parameters), so its task vector is no product of two factors; its inner products "
                "need the merged models"
            )
        for name in (*adapter.full, *adapter.biases):
            raise CheckpointError(
                f"{adapter.file}: holds {name!r} whole, which is no product of factors; its inner "
                "products need the merged models"
            )
    modules = list(dict.fromkeys(module for adapter in adapters for module in adapter.factors))
    grams = {
        module: _gram([adapter.factors.get(module) for adapter in adapters], module) for module in modules
    }
    n = len(adapters)
    return LoraGram(grams, sum(grams.values(), torch.zeros(n, n, dtype=torch.float64)))


def _gram(experts: Sequence[Factors | None], module: str) -> Tensor:
    import torch

    from m2m.checkpoint.checkpoint import read_tensor

    gram = torch.zeros(len(experts), len(experts), dtype=torch.float64)
    here = [(n, factors) for n, factors in enumerate(experts) if factors is not None]
    first = here[0][1]
    loaded = []
    for n, factors in here:
        got, wanted = (factors.b.shape[0], factors.a.shape[1]), (first.b.shape[0], first.a.shape[1])
        if got != wanted:
            raise CheckpointError(
                f"{factors.a.file}: module {module!r} is {got}, in {first.a.file} it is {wanted}"
            )
        loaded.append((n, read_tensor(factors.a).double(), read_tensor(factors.b).double() * factors.scale))
    for i, (n, a_n, b_n) in enumerate(loaded):
        for k, a_k, b_k in loaded[i:]:
            gram[n, k] = gram[k, n] = ((b_n.T @ b_k) * (a_n @ a_k.T)).sum()
    return gram
