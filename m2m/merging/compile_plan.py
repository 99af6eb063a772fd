"""From a merge plan to the flat numbers of the compiled stream."""

from __future__ import annotations

import resource
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.checkpoint.dtypes import SIZES
from m2m.checkpoint.header import TensorInfo
from m2m.merging.lora.product import Product
from m2m.merging.plan import Input, MergePlan

if TYPE_CHECKING:
    from m2m._core import StreamPlan

#: The compiled module's numbers for element types; a copied tensor's type is without meaning there.
_DTYPE_NUMBERS = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3}
#: Numbers that describe a product to the compiled module.
_PRODUCT_NUMBERS = 11
#: What stands in place of a file's number where an input is formed.
_PRODUCT, _ADAPTED = -1, -2
#: Files that the rest of the process may hold open.
_OTHER_FILES = 128


def compile_plan(plan: MergePlan, files: Sequence[Path]) -> StreamPlan:
    """Open a plan's files and give its tensors to the compiled module.

    Args:
        plan: The plan.
        files: Its output files, shard by shard of the first output, then of the second, and so on.

    Returns:
        The compiled plan.
    """
    from m2m._core import StreamPlan

    shards = len(plan.outputs[0].layout.shards)
    tensors, inputs, outputs = array("q"), _Inputs(), array("q")
    for tensor in plan.tensors:
        entry, copied = tensor.entry, tensor.copied
        nbytes = entry.nbytes
        tensors.extend((copied, nbytes if copied else nbytes // SIZES[entry.dtype], len(tensor.sources)))
        for source in tensor.sources:
            inputs.places.extend(inputs.place(source))
        dtype = _DTYPE_NUMBERS.get(entry.dtype, 0)
        for m, (shard, offset) in enumerate(tensor.places):
            outputs.extend((m * shards + shard, offset, dtype))
    _allow_open_files(len(inputs.files) + len(files))
    return StreamPlan(
        input_files=[str(file) for file in inputs.files],
        output_files=[str(file) for file in files],
        n_outputs=len(plan.outputs),
        tensors=tensors,
        inputs=inputs.places,
        products=inputs.products,
        adapted=inputs.adapted,
        scales=inputs.scales,
        outputs=outputs,
    )


class _Inputs:
    """Inputs as the compiled module knows them: rows of numbers that refer to each other by position."""

    def __init__(self) -> None:
        self.files: dict[Path, int] = {}
        self.places, self.products, self.adapted = array("q"), array("q"), array("q")
        self.scales = array("d")

    def place(self, source: Input) -> tuple[int, int, int]:
        if isinstance(source, TensorInfo):
            number = self.files.setdefault(source.file, len(self.files))
            return number, source.offset, _DTYPE_NUMBERS.get(source.dtype, 0)
        if isinstance(source, Product):
            return _PRODUCT, self._add_product(source), _DTYPE_NUMBERS[source.dtype]
        self.adapted.extend((*self.place(source.base), *self.place(source.added)))
        self.scales.append(source.scale)
        return _ADAPTED, len(self.scales) - 1, _DTYPE_NUMBERS[source.dtype]

    def _add_product(self, product: Product) -> int:
        number = len(self.products) // _PRODUCT_NUMBERS
        self.products.extend((*product.shape, product.rank))
        for factor in (product.left, product.right):
            self.products.extend((*self.place(factor), product.transposed))
        return number


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
