"""From a merge plan to the flat numbers of the compiled stream."""

from __future__ import annotations

import resource
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.checkpoint.dtypes import SIZES
from m2m.merging.lora.product import Product
from m2m.merging.plan import MergePlan

if TYPE_CHECKING:
    from m2m._core import StreamPlan

#: The compiled module's numbers for element types; a copied tensor's type is without meaning there.
_DTYPE_NUMBERS = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3}
#: Numbers that describe a product to the compiled module.
_PRODUCT_NUMBERS = 11
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

    numbers: dict[Path, int] = {}
    shards = len(plan.outputs[0].layout.shards)
    tensors, inputs, products, outputs = array("q"), array("q"), array("q"), array("q")
    for tensor in plan.tensors:
        entry, copied = tensor.entry, tensor.copied
        nbytes = entry.nbytes
        tensors.extend((copied, nbytes if copied else nbytes // SIZES[entry.dtype], len(tensor.sources)))
        for source in tensor.sources:
            file = numbers.setdefault(source.file, len(numbers))
            if isinstance(source, Product):
                inputs.extend((-1, len(products) // _PRODUCT_NUMBERS, _DTYPE_NUMBERS[source.dtype]))
                products.extend(_product_numbers(source, file))
            else:
                inputs.extend((file, source.offset, _DTYPE_NUMBERS.get(source.dtype, 0)))
        dtype = _DTYPE_NUMBERS.get(entry.dtype, 0)
        for m, (shard, offset) in enumerate(tensor.places):
            outputs.extend((m * shards + shard, offset, dtype))
    _allow_open_files(len(numbers) + len(files))
    return StreamPlan(
        input_files=[str(file) for file in numbers],
        output_files=[str(file) for file in files],
        n_outputs=len(plan.outputs),
        tensors=tensors,
        inputs=inputs,
        products=products,
        outputs=outputs,
    )


def _product_numbers(product: Product, file: int) -> Iterator[int]:
    yield from (*product.shape, product.rank)
    for factor in (product.left, product.right):
        yield from (file, factor.offset, _DTYPE_NUMBERS[factor.dtype], product.transposed)


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
