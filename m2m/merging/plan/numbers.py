"""A plan's tensors as flat numbers: what the compiled stream is given, and what a plan's hash is made of."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

from m2m.checkpoint.header import SIZES, TensorInfo
from m2m.merging.lora.product import Product
from m2m.merging.plan.tensors import PlannedTensor, TensorSource

#: The compiled module's numbers for element types; a copied tensor's type is without meaning there.
_DTYPE_NUMBERS = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3}
#: Numbers that describe a product to the compiled module.
_PRODUCT_NUMBERS = 11
#: What stands in place of a file's number where an input is formed.
_PRODUCT, _ADAPTED = -1, -2


class PlanNumbers:
    """Rows of numbers that refer to each other, and to files, by position.

    Attributes:
        files: The input files, in the order of first use.
        tensors: Whether it is copied, elements (bytes of a copied one), inputs N. [T, 3]
        inputs: File, offset and type of what is read; -1 or -2 and a number of what is formed. [ΣN, 3]
        products: Shape, rank, and where the factors lie. [, 11]
        adapted: What adapters add to: file, offset, type; and what they add. [, 6]
        scales: The factors before what adapters add.
        outputs: File, offset and type. [T · M, 3]
    """

    def __init__(self, tensors: Iterable[PlannedTensor], shards: int) -> None:
        self.tensors, self.inputs, self.outputs = array("q"), array("q"), array("q")
        self.products, self.adapted, self.scales = array("q"), array("q"), array("d")
        self._numbers: dict[Path, int] = {}
        self._known: dict[int, int] = {}  # the same by identity: paths are slow to hash
        for tensor in tensors:
            entry, copied = tensor.entry, tensor.copied
            nbytes = entry.nbytes
            count = nbytes if copied else nbytes // SIZES[entry.dtype]
            self.tensors.extend((copied, count, len(tensor.sources)))
            for source in tensor.sources:
                self.inputs.extend(self._place(source))
            dtype = _DTYPE_NUMBERS.get(entry.dtype, 0)
            for m, (shard, offset) in enumerate(tensor.places):
                self.outputs.extend((m * shards + shard, offset, dtype))

    @property
    def files(self) -> tuple[Path, ...]:
        """The input files, in the order of first use."""
        return tuple(self._numbers)

    def _place(self, source: TensorSource) -> tuple[int, int, int]:
        if isinstance(source, TensorInfo):
            number = self._known.get(id(source.file))
            if number is None:
                number = self._numbers.setdefault(source.file, len(self._numbers))
                self._known[id(source.file)] = number
            return number, source.offset, _DTYPE_NUMBERS.get(source.dtype, 0)
        if isinstance(source, Product):
            return _PRODUCT, self._add_product(source), _DTYPE_NUMBERS[source.dtype]
        self.adapted.extend((*self._place(source.base), *self._place(source.added)))
        self.scales.append(source.scale)
        return _ADAPTED, len(self.scales) - 1, _DTYPE_NUMBERS[source.dtype]

    def _add_product(self, product: Product) -> int:
        number = len(self.products) // _PRODUCT_NUMBERS
        row = [*product.shape, product.rank]
        for factor in (product.left, product.right):
            row += (*self._place(factor), product.transposed)
        self.products.extend(row)
        return number
