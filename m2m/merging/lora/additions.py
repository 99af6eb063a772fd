"""What an adapter adds to one tensor, and what the tensor becomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import SIZES, TORCH_NAMES, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

#: Tensors whose factors are in memory at the same time; see `LoraCache` in `csrc/stream/lora_factors.h`.
TENSORS_AT_ONCE = 2


def first_rows(info: TensorInfo, rows: int, start: int = 0) -> TensorInfo:
    """Where some rows of a stored tensor lie: `rows` of them, from `start` on."""
    row = info.nbytes // info.shape[0]
    return info._replace(shape=(rows, *info.shape[1:]), offset=info.offset + start * row, nbytes=rows * row)


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
    #: Which columns of the adapter's B are this product's: each `every`-th from `first` on. Fused experts of
    #: a mixture have one B, in which term k of expert e is column k · every + e.
    first: int = 0
    every: int = 1

    @property
    def rank(self) -> int:
        """Number of terms r."""
        return (self.left if self.transposed else self.right).shape[0]

    def factors(self) -> tuple[Tensor, Tensor]:
        """Read both: [rows, r] and [r, columns]."""
        left, right = read_tensor(self.left), read_tensor(self.right)
        own = slice(self.first, None, self.every)
        return (left.T, right[:, own].T) if self.transposed else (left[:, own], right)

    def places(self) -> tuple[tuple[TensorInfo, int, int], ...]:
        """Where both lie: from which element on, and elements to the next row and to the next column."""
        left, right = self.left, self.right
        if self.transposed:
            start = right._replace(offset=right.offset + self.first * SIZES[right.dtype])
            return (left, 1, left.shape[1]), (start, self.every, right.shape[1])
        start = left._replace(offset=left.offset + self.first * SIZES[left.dtype])
        return (start, left.shape[1], self.every), (right, right.shape[1], 1)

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
        return self.rank * sum(self.shape) * SIZES["F64" if wide else "F32"]

    def form(self) -> Tensor:
        """Form P as the stream does, whole: its reference twin. Float64 [rows, columns]."""
        import torch

        left, right = (factor.double() for factor in self.factors())
        total = torch.full(self.shape, -0.0, dtype=torch.float64)
        for k in range(self.rank):
            total = total + left[:, k, None] * right[k]
        return total

    def __repr__(self) -> str:
        parts = [(info.name, info.dtype, info.shape, info.offset) for info in (self.left, self.right)]
        return f"Product({self.name!r}, {parts}, {self.transposed}, {self.first}, {self.every})"


class StackedProduct(NamedTuple):
    """What an adapter adds to a tensor that holds the matrices of all experts of a mixture: each its own."""

    #: The tensor it is added to.
    name: str
    #: The products of its experts, in order. [E] of [rows, columns]
    products: tuple[Product, ...]

    @property
    def dtype(self) -> str:
        """Safetensors name of the type it is formed in."""
        return "F64"

    @property
    def file(self) -> Path:
        """The file that holds the factors."""
        return self.products[0].file

    def form(self) -> Tensor:
        """Form all products: float64 [E, rows, columns]."""
        import torch

        return torch.stack([product.form() for product in self.products])


class AdaptedTensor(NamedTuple):
    """θ_n = round(W + s·X), for methods that need the expert itself; with magnitudes, the rows of DoRA.

    The sum is the numeric contract's of W and X in float64, with weights 1 and s. With magnitudes m, each row
    i of the sum V becomes m_i/√(Σ_j V_ij²) · V_ij (arXiv 2402.09353, eq. 5): squares are added in order, and
    every operation is rounded to float64. Where the model stores [in, out], columns take the place of rows.
    The result is rounded once.

    Attributes:
        base: Where W lies. [*S]
        added: X: a product of factors, or a tensor that is read. [*S]
        scale: The factor s before it.
        dtype: Safetensors name of the type it is rounded to, the type that task vectors are formed in.
        magnitudes: Where m lies, if there are any; X is then a product. [rows], or [columns]
    """

    base: TensorInfo
    added: Product | StackedProduct | TensorInfo
    scale: float
    dtype: str
    magnitudes: TensorInfo | None = None

    @property
    def by_column(self) -> bool:
        """Whether magnitudes are those of columns."""
        return isinstance(self.added, Product) and self.added.transposed

    def form(self) -> Tensor:
        """Form θ as the stream does, whole: its reference twin, in the type that `dtype` names [*S]."""
        import torch

        from m2m.ops import weighted_sum_reference

        added = read_tensor(self.added) if isinstance(self.added, TensorInfo) else self.added.form()
        terms = [read_tensor(self.base).double(), added.double()]
        if self.magnitudes is None:
            out = getattr(torch, TORCH_NAMES[self.dtype])
            return weighted_sum_reference(terms, [[1.0, self.scale]], out_dtype=out)[0]
        return self.scaled(weighted_sum_reference(terms, [[1.0, self.scale]])[0])

    def scaled(self, summed: Tensor) -> Tensor:
        """Give rows or columns of a sum their magnitudes: float64 [*S] to the type `dtype` names [*S]."""
        import torch

        from m2m.merging.methods.exact import round_once, square_root

        assert self.magnitudes is not None
        squares = torch.zeros(self.magnitudes.elements, dtype=torch.float64)
        for part in summed.unbind(0 if self.by_column else 1):
            squares = squares + part * part
        gains = read_tensor(self.magnitudes).double().reshape(-1) / square_root(squares)
        return round_once(
            summed * gains.unsqueeze(0 if self.by_column else 1), getattr(torch, TORCH_NAMES[self.dtype])
        )


class Addition(NamedTuple):
    """A term that an adapter adds to a tensor: scale · source."""

    #: A product of factors, one for each expert of a mixture, or a tensor that is read.
    source: Product | StackedProduct | TensorInfo
    #: The factor before it.
    scale: float
    #: What rows or columns of the sum are scaled to, if they are (DoRA).
    magnitudes: TensorInfo | None = None

    def on(self, base: TensorInfo, dtype: str) -> AdaptedTensor:
        """The tensor that it makes of the base model's, rounded to `dtype`."""
        return AdaptedTensor(base, self.source, self.scale, dtype, self.magnitudes)
