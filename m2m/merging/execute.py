"""Run a merge plan: lay out the output files, let the compiled stream fill them, watch over it."""

from __future__ import annotations

import os
import resource
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.errors import RunFolderError
from m2m.merging.failures import raise_failure
from m2m.merging.hashing import FollowingHasher
from m2m.merging.lora.product import Product
from m2m.merging.memory import Staging, anonymous_bytes
from m2m.merging.plan import MergePlan, element_size
from m2m.merging.work_folder import Position

if TYPE_CHECKING:
    from m2m._core import Stream

#: Called with (bytes written, bytes to write, what) several times a second; may raise to stop the merge.
Progress = Callable[[int, int, str], None]

#: The compiled module's numbers for element types; a copied tensor's type is without meaning there.
_DTYPE_NUMBERS = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3}
#: Numbers that describe a product to the compiled module.
_PRODUCT_NUMBERS = 11
_POLL_SECONDS = 0.1
_NOTES_EVERY = 5
#: Chunks take milliseconds; a disk that hangs for longer is not waited for.
_STOP_SECONDS = 1.0
#: Files that the rest of the process may hold open.
_OTHER_FILES = 128


@dataclass(frozen=True)
class Execution:
    """What running a plan took.

    Attributes:
        read_bytes: Tensor bytes read.
        written_bytes: Tensor bytes written.
        peak_anon_bytes: Most anonymous memory that was seen.
        hashes: SHA-256 of each output file, by candidate and file name.
    """

    read_bytes: int
    written_bytes: int
    peak_anon_bytes: int | None
    hashes: dict[tuple[str, str], str]


def lay_out(plan: MergePlan, folder: Path) -> list[Path]:
    """Make the output files at full length, with their headers; files of an interrupted run keep their bytes.

    Args:
        plan: The plan.
        folder: Where the outputs go: each in a folder of its candidate's name.

    Returns:
        The files, shard by shard of the first output, then of the second, and so on.

    Raises:
        RunFolderError: If there is no room for them.
    """
    files = []
    for output in plan.outputs:
        (folder / output.name).mkdir(exist_ok=True)
        for shard in output.layout.shards:
            path = folder / output.name / shard.name
            try:
                _allocate(path, shard.header, shard.nbytes)
            except OSError as error:
                raise RunFolderError(f"{path}: no room for {shard.nbytes} bytes: {error.strerror}") from error
            files.append(path)
    return files


def _allocate(path: Path, header: bytes, nbytes: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.ftruncate(descriptor, nbytes)
        os.posix_fallocate(descriptor, 0, nbytes)  # a full disk is found out now, not after an hour
        os.pwrite(descriptor, header, 0)
    finally:
        os.close(descriptor)


def execute(
    plan: MergePlan,
    folder: Path,
    staging: Staging,
    start: Position,
    *,
    allow_nonfinite: bool,
    note: Callable[[Position], None],
    progress: Progress | None,
) -> Execution:
    """Fill the outputs.

    Args:
        plan: What to do.
        folder: Where the outputs go.
        staging: Workers and their buffers.
        start: Everything before it has been written already.
        allow_nonfinite: Whether NaN and infinities may pass.
        note: Is told now and then how far the work has come.
        progress: Is told several times a second.

    Returns:
        What it took.

    Raises:
        CheckpointError: If an input shrank, holds NaN or infinities, or differs where it must not.
        InterruptedMergeError: If the system failed to read or write.
    """  # noqa: DOC502 - raised by what is called
    files = lay_out(plan, folder)
    stream = _start(plan, files, staging, start, allow_nonfinite)
    hasher = FollowingHasher(plan, files, staging.threads, lambda: stream.position)
    resumed = bytes_before(plan, start)

    def report() -> None:
        if progress is not None:
            progress(resumed + stream.written_bytes, plan.nbytes, "merge")

    try:
        peak = _watch(stream, note, report)
        raise_failure(plan, stream)
        hashes = hasher.result()
    except BaseException:
        stream.stop()
        stream.wait(_STOP_SECONDS)
        note(stream.position)
        raise
    finally:
        hasher.stop()
    return Execution(stream.read_bytes, stream.written_bytes, peak, hashes)


def _watch(stream: Stream, note: Callable[[Position], None], report: Callable[[], None]) -> int | None:
    peak, polls, ended = anonymous_bytes(), 0, False
    while not ended:
        ended = stream.wait(_POLL_SECONDS)
        polls += 1
        peak = _larger(peak, anonymous_bytes())
        if ended or polls % _NOTES_EVERY == 0:
            note(stream.position)
        report()
    return peak


def bytes_before(plan: MergePlan, position: Position) -> int:
    """Count the tensor bytes of all outputs that lie before a position.

    Args:
        plan: The plan.
        position: A place in its order.

    Returns:
        Bytes.
    """
    tensor, element = position
    whole = sum(planned.entry.nbytes for planned in plan.tensors[:tensor])
    part = element * element_size(plan.tensors[tensor]) if element else 0
    return (whole + part) * len(plan.outputs)


def _start(
    plan: MergePlan, files: list[Path], staging: Staging, start: Position, allow_nonfinite: bool
) -> Stream:
    from m2m._core import Stream

    _allow_open_files(len(plan.input_files) + len(files))
    file_numbers = {file: number for number, file in enumerate(plan.input_files)}
    shards = len(plan.outputs[0].layout.shards)
    tensors, inputs, products, outputs = array("q"), array("q"), array("q"), array("q")
    for tensor in plan.tensors:
        entry = tensor.entry
        copied = tensor.block is None
        elements = entry.nbytes // element_size(tensor)
        tensors.extend((copied, elements, -1 if tensor.block is None else tensor.block, len(tensor.sources)))
        for source in tensor.sources:
            if isinstance(source, Product):
                inputs.extend((-1, len(products) // _PRODUCT_NUMBERS, _DTYPE_NUMBERS[source.dtype]))
                products.extend(_product_numbers(source, file_numbers[source.file]))
            else:
                inputs.extend((file_numbers[source.file], source.offset, _DTYPE_NUMBERS.get(source.dtype, 0)))
        for m, (shard, offset) in enumerate(tensor.places):
            outputs.extend((m * shards + shard, offset, _DTYPE_NUMBERS.get(entry.dtype, 0)))
    return Stream(
        input_files=[str(file) for file in file_numbers],
        output_files=[str(file) for file in files],
        n_outputs=len(plan.outputs),
        tensors=tensors,
        inputs=inputs,
        products=products,
        outputs=outputs,
        blocks=array("q", [len(block[0]) for block in plan.blocks]),
        weights=array("d", chain.from_iterable(chain.from_iterable(plan.blocks))),
        threads=staging.threads,
        slot_bytes=staging.slot_bytes,
        start=start,
        allow_nonfinite=allow_nonfinite,
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


def _larger(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else max(first, second)
