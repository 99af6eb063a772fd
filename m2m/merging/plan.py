"""A streamed merge as pure data: which bytes of which files become which bytes of which others, in disk order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2m.checkpoint.checkpoint import TIED_KEY, Checkpoint
from m2m.checkpoint.compare import check_same_tensors
from m2m.checkpoint.dtypes import MERGEABLE, SIZES
from m2m.checkpoint.header import TensorInfo
from m2m.checkpoint.layout import Entry, Layout, plan_layout
from m2m.errors import CheckpointError, MixtureError

#: A tensor's weights: a row a candidate. [M, N]
WeightBlock = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Output:
    """One checkpoint that the merge writes.

    Attributes:
        name: Name of the candidate and of its folder; empty when there is only one checkpoint.
        layout: Its files.
    """

    name: str
    layout: Layout


@dataclass(frozen=True)
class PlannedTensor:
    """How one tensor of the outputs comes about.

    Attributes:
        entry: Its name, output type and shape.
        sources: The same tensor in each input. [N]
        places: In which shard of each output it goes, and at which byte. [M]
        block: Number of its weights, or nothing: then the inputs must be equal, and are copied.
    """

    entry: Entry
    sources: tuple[TensorInfo, ...]
    places: tuple[tuple[int, int], ...]
    block: int | None


@dataclass(frozen=True)
class MergePlan:
    """Everything a merge will do.

    Attributes:
        models: The inputs. [N]
        outputs: The checkpoints to write. [M]
        tensors: What is in them, in the order in which it is written.
        blocks: Different weights that tensors refer to by number. each [M, N]
    """

    models: tuple[Path, ...]
    outputs: tuple[Output, ...]
    tensors: tuple[PlannedTensor, ...]
    blocks: tuple[WeightBlock, ...]

    @property
    def input_files(self) -> tuple[Path, ...]:
        """Every file that is read, in the order of first use."""
        return tuple(dict.fromkeys(source.file for tensor in self.tensors for source in tensor.sources))

    @property
    def nbytes(self) -> int:
        """Tensor bytes that all outputs together hold."""
        return len(self.outputs) * sum(tensor.entry.nbytes for tensor in self.tensors)

    @property
    def key(self) -> str:
        """Content hash of the whole plan and of its input files' sizes and times: equal keys write equal bytes."""
        stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in self.input_files]
        headers = [[shard.header.hex() for shard in output.layout.shards] for output in self.outputs]
        blocks = [[[weight.hex() for weight in row] for row in block] for block in self.blocks]
        digest = hashlib.sha256(json.dumps([stats, headers, blocks]).encode())
        for tensor in self.tensors:
            places = [(str(source.file), source.offset, source.dtype) for source in tensor.sources]
            digest.update(repr((tensor.entry, tensor.block, tensor.places, places)).encode())
        return digest.hexdigest()


def build_plan(
    models: Sequence[Checkpoint],
    weights_of: Callable[[str], WeightBlock],
    metadata: Mapping[str, Mapping[str, str]],
    *,
    dtype: str | None = None,
    shard_bytes: int | None = None,
    donor: int = 0,
) -> MergePlan:
    """Plan a merge whose outputs are weighted sums of the inputs, tensor by tensor.

    Args:
        models: The inputs; they must hold the same tensors. [N]
        weights_of: Gives a tensor's weights by its name. [M, N]
        metadata: Name of each output to the free text in its headers. [M]
        dtype: Safetensors name of the outputs' float type; each tensor keeps the donor's when not given.
        shard_bytes: Most tensor bytes an output file.
        donor: Number of the input that settles order, default types and tied names.

    Returns:
        The plan.

    Raises:
        CheckpointError: If the inputs differ in names, shapes or kinds, or hold a type that cannot be averaged.
        MixtureError: If a tensor's weights do not fit the inputs or outputs, or are not finite.
    """  # noqa: DOC502 - raised by what is called
    lead = models[donor]
    check_same_tensors(lead, [model for model in models if model is not lead], mixed_floats=True)
    entries = [Entry(info.name, _output_dtype(info, dtype, lead), info.shape) for info in lead.tensors.values()]
    outputs = tuple(_plan_output(name, entries, notes, lead, shard_bytes) for name, notes in metadata.items())
    by_name = {entry.name: entry for entry in entries}
    blocks: dict[WeightBlock, int] = {}
    tensors = []
    for number, shard in enumerate(outputs[0].layout.shards):
        for name in shard.offsets:
            block = _block_number(name, by_name[name], weights_of, blocks, len(outputs), len(models))
            places = tuple((number, output.layout.shards[number].offsets[name]) for output in outputs)
            sources = tuple(model.tensors[name] for model in models)
            tensors.append(PlannedTensor(by_name[name], sources, places, block))
    return MergePlan(tuple(model.path for model in models), outputs, tuple(tensors), tuple(blocks))


def _output_dtype(info: TensorInfo, dtype: str | None, lead: Checkpoint) -> str:
    if info.dtype in MERGEABLE:
        return dtype or info.dtype
    if info.dtype.startswith("F8") or info.dtype == "C64":
        raise CheckpointError(
            f"{lead.path}: tensor {info.name!r} is {info.dtype}: it means nothing without its scales and is not merged"
            if info.dtype.startswith("F8")
            else f"{lead.path}: tensor {info.name!r} is {info.dtype}: complex numbers are not merged"
        )
    return info.dtype


def _plan_output(
    name: str, entries: list[Entry], notes: Mapping[str, str], lead: Checkpoint, shard_bytes: int | None
) -> Output:
    tied = {TIED_KEY: json.dumps(lead.tied)} if lead.tied else {}
    return Output(name, plan_layout(entries, {"format": "pt", **notes, **tied}, shard_bytes))


def _block_number(
    name: str,
    entry: Entry,
    weights_of: Callable[[str], WeightBlock],
    blocks: dict[WeightBlock, int],
    n_outputs: int,
    n_inputs: int,
) -> int | None:
    if entry.dtype not in MERGEABLE:
        return None
    block = weights_of(name)
    if block not in blocks:
        _check_block(name, block, n_outputs, n_inputs)
    return blocks.setdefault(block, len(blocks))


def _check_block(name: str, block: WeightBlock, n_outputs: int, n_inputs: int) -> None:
    if len(block) != n_outputs or any(len(row) != n_inputs for row in block):
        got = [len(row) for row in block]
        raise MixtureError(f"weights of tensor {name!r} have rows of {got}; wanted {n_outputs} rows of {n_inputs}")
    for row in block:
        if not all(abs(weight) < float("inf") for weight in row) or not any(row):
            raise MixtureError(f"weights of tensor {name!r} must be finite and not all zero, got {list(row)}")


def element_size(tensor: PlannedTensor) -> int:
    """Say how long one counted element of a tensor is in the outputs.

    Args:
        tensor: A planned tensor.

    Returns:
        Bytes an element; one for a copied tensor, which is counted in bytes.
    """
    return 1 if tensor.block is None else SIZES[tensor.entry.dtype]
