"""Sums of tensors and products of factors in memory: the bits of their definitions, no product whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import TensorInfo
from m2m.merging.compiled import lora_sum
from m2m.merging.lora.additions import AdaptedTensor, Product, StackedProduct

if TYPE_CHECKING:
    from torch import Tensor

#: What is added: a tensor [*S], or the factors [rows, r] and [r, columns] of a product.
Term: TypeAlias = "Tensor | tuple[Tensor, Tensor]"


def read_term(source: TensorInfo | Product | StackedProduct) -> Term:
    """Read a tensor, or the factors of what an adapter adds; of a stack of products, form all."""
    if isinstance(source, TensorInfo):
        return read_tensor(source)
    return source.factors() if isinstance(source, Product) else source.form()


def sum_terms_into(
    outs: Sequence[Tensor], terms: Sequence[Term], weights: Tensor, *, threads: int | None = None
) -> None:
    """Write weighted sums of tensors and products, summed in float64 by the numeric contract.

    A product is formed piece by piece, once for all sums, with the bits of `Product.form`.

    Args:
        outs: Contiguous tensors in host memory, of one dtype; overwritten. [M] of [*S]
        terms: What is added, in this order, in host memory. [T]
        weights: Float64, a row a sum. [M, T]
        threads: CPU threads; default None is torch's own count. Without effect on the bits.
    """
    import torch

    parts = [_factors(*term) if isinstance(term, tuple) else (term.contiguous(),) for term in terms]
    lora_sum([out.detach() for out in outs], parts, weights, threads or torch.get_num_threads())
    torch.autograd.graph.increment_version(list(outs))


def formed(source: AdaptedTensor) -> Tensor:
    """Form an expert's tensor whose rows are scaled, with the bits of its definition. [*S]."""
    import torch

    summed = torch.empty(source.base.shape, dtype=torch.float64)
    assert isinstance(source.added, Product)
    terms = [read_tensor(source.base), read_term(source.added)]
    sum_terms_into([summed], terms, torch.tensor([[1.0, source.scale]], dtype=torch.float64))
    return source.scaled(summed)


def add_scaled(weight: Tensor, added: Term, scale: float) -> Tensor:
    """Return round(W + s·X) in the type of W, summed in float64: what a merge of one adapter is. [*S]."""
    import torch

    out = torch.empty_like(weight, memory_format=torch.contiguous_format)
    sum_terms_into([out], [weight, added], torch.tensor([[1.0, scale]], dtype=torch.float64))
    return out


def _factors(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    # Products are formed of float32, or of float64 where one factor is.
    import torch

    wide = torch.float64 if torch.float64 in {left.dtype, right.dtype} else torch.float32
    return left.to(wide).contiguous(), right.to(wide).contiguous()
