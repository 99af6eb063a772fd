"""What an adapter adds to one tensor: a product of factors, or a tensor that is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import SIZES, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

#: Tensors whose factors are in memory at the same time; see `LoraCache` in `csrc/stream/lora_factors.h`.
TENSORS_AT_ONCE = 2


class Product(NamedTuple):
    """What an adapter adds to one tensor, before its scale: P = left · right, in float64.

    P[i, j] = Σ_k left[i, k] · right[k, j]: k ascending, starting at -0, each product and each addition
    rounded to float64 (products of factors of at most 32 bits are exact).
    """

    #: The tensor it is added to.
    name: str
    #: Its shape. [rows, columns]
    shape: tuple[int, ...]
    #: Where the left factor lies: [rows, r], or [r, rows] if transposed.
    left: TensorInfo
    #: Where the right factor lies: [r, columns], or [columns, r] if transposed.
    right: TensorInfo
    #: Whether both are stored with rows and columns exchanged.
    transposed: bool

    @property
    def rank(self) -> int:
        """Number of terms r."""
        return self.left.shape[0 if self.transposed else 1]

    @property
    def dtype(self) -> str:
        """Safetensors name of the type it is formed in."""
        return "F64"

    @property
    def file(self) -> Path:
        """The file that holds both factors."""
        return self.left.file

    @property
    def factor_bytes(self) -> int:
        """Bytes of both factors in memory, as float32 unless one of them is wider."""
        wide = "F64" in (self.left.dtype, self.right.dtype)
        return (self.left.elements + self.right.elements) * SIZES["F64" if wide else "F32"]

    def form(self) -> Tensor:
        """Form P as the stream does, whole: its reference twin. Float64 [rows, columns]."""
        import torch

        left, right = read_tensor(self.left).double(), read_tensor(self.right).double()
        if self.transposed:
            left, right = left.T, right.T
        total = torch.full(self.shape, -0.0, dtype=torch.float64)
        for k in range(self.rank):
            total = total + left[:, k, None] * right[k]
        return total

    def __repr__(self) -> str:
        parts = [(info.name, info.dtype, info.shape, info.offset) for info in (self.left, self.right)]
        return f"Product({self.name!r}, {parts}, {self.transposed})"


class Addition(NamedTuple):
    """A term that an adapter adds to a tensor: scale · source."""

    #: A product of factors, or a tensor that is read.
    source: Product | TensorInfo
    #: The factor before it.
    scale: float
