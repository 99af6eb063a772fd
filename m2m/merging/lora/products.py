"""Products of factors and their sums, on the merge kernel: the bits of their definitions, faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.checkpoint.checkpoint import read_tensor
from m2m.merging.lora.adapted import Product
from m2m.ops import weighted_sum

if TYPE_CHECKING:
    from torch import Tensor


def formed_product(source: Product) -> Tensor:
    """Form what an adapter adds, with the bits of its definition (`Product.form`).

    Args:
        source: The factors.

    Returns:
        P, float64. [rows, columns]
    """
    if "F64" in (source.left.dtype, source.right.dtype):
        return source.form()
    left, right = read_tensor(source.left), read_tensor(source.right)
    return product(*((left.T, right.T) if source.transposed else (left, right)))


def product(left: Tensor, right: Tensor) -> Tensor:
    """Form P = left · right, summed over r in order.

    Factors of at most 32 bits have exact products in float64, so the kernel's fused multiply-adds round as
    a product and a sum do; its outputs are then the rows of P, its inputs the rows of the right factor.

    Args:
        left: Floats of at most 32 bits. [rows, r]
        right: Floats of at most 32 bits. [r, columns]

    Returns:
        P, float64. [rows, columns]
    """
    left, right = left.double(), right.double()
    if left.shape[0] <= right.shape[1]:
        return weighted_sum(list(right.contiguous()), left)
    return weighted_sum(list(left.T.contiguous()), right.T).T


def add_scaled(weight: Tensor, added: Tensor, scale: float) -> Tensor:
    """Return round(W + s·X) in the type of W, summed in float64: what a merge of one adapter is. [*S]."""
    terms = [weight.double(), added.double().contiguous()]
    return weighted_sum(terms, [[1.0, scale]], out_dtype=weight.dtype)[0]
