"""A streamed merge as pure data: which bytes of which files become which of which others."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from m2m.checkpoint.checkpoint import Checkpoint, opened_files
from m2m.checkpoint.header import SIZES
from m2m.checkpoint.identity import Identity, identify, place_of
from m2m.checkpoint.writer import Layout, plan_layout
from m2m.errors import MixtureError
from m2m.merging.lora.additions import TENSORS_AT_ONCE, AdaptedTensor
from m2m.merging.methods.spec import Method
from m2m.merging.plan.tensors import (
    PlannedTensor,
    PlanNumbers,
    WantedTensor,
    WeightBlock,
    element_size,
    factor_bytes,
    moved,
)


@dataclass(frozen=True)
class PlannedCheckpoint:
    """One checkpoint that the merge writes."""

    #: Name of the candidate and of its folder; empty when there is only one checkpoint.
    name: str
    #: Its files.
    layout: Layout


@dataclass(frozen=True)
class MergePlan:
    """Everything a merge will do."""

    #: The inputs' files, and what they were when they were opened.
    opened: Mapping[Path, Identity]
    #: The checkpoints to write. [M]
    outputs: tuple[PlannedCheckpoint, ...]
    #: What is in them, in the order in which it is written.
    tensors: tuple[PlannedTensor, ...]
    #: Different weights that tensors refer to by number. each [M, N]
    blocks: tuple[WeightBlock, ...]
    #: How tensors are merged; what it needs to know is with each tensor.
    method: Method
    #: What the user may not expect of the inputs.
    about_inputs: tuple[str, ...] = ()
    #: What makes the merge doubtful.
    doubts: tuple[str, ...] = ()
    #: What the results' `config.json` must say instead of the donor's.
    config: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def numbers(self) -> PlanNumbers:
        """The tensors as flat numbers."""
        return PlanNumbers(self.tensors, len(self.outputs[0].layout.shards))

    @cached_property
    def shard_starts(self) -> list[int]:
        """The first tensor of each shard of an output."""
        numbers = [tensor.places[0][0] for tensor in self.tensors]
        return [at for at, number in enumerate(numbers) if at == 0 or number != numbers[at - 1]]

    def shard(self, number: int) -> MergePlan:
        """Narrow to one shard of every output: a plan that writes this file alone, to the same bytes."""
        first, end = ([*self.shard_starts, len(self.tensors)])[number : number + 2]
        outputs = tuple(
            PlannedCheckpoint(output.name, replace(output.layout, shards=(output.layout.shards[number],)))
            for output in self.outputs
        )
        tensors = tuple(
            tensor._replace(places=tuple((0, offset) for _, offset in tensor.places))
            for tensor in self.tensors[first:end]
        )
        return replace(self, outputs=outputs, tensors=tensors)

    def moved(self, places: Mapping[Path, Path]) -> MergePlan:
        """The same plan, reading from other files where `places` has some in place of its own."""
        if not places:
            return self
        tensors = tuple(
            tensor._replace(sources=tuple(moved(source, places) for source in tensor.sources))
            for tensor in self.tensors
        )
        return replace(self, tensors=tensors)

    @property
    def input_files(self) -> tuple[Path, ...]:
        """Every file that is read, in the order of first use."""
        return self.numbers.files

    @property
    def input_slots(self) -> int:
        """Staging slots for inputs: those of the tensor that has most; one more to adapt tensors in."""
        return max(len(tensor.sources) for tensor in self.tensors) + bool(self.numbers.adapted)

    @property
    def row_bytes(self) -> int:
        """Bytes of the longest row that must be in memory whole; 0 if the method does not work by rows."""
        if self.method.row_length(()) is None:
            return 0
        return max(
            (_row_bytes(self.method, tensor) for tensor in self.tensors if not tensor.copied), default=0
        )

    @property
    def scratch_bytes(self) -> int:
        """Bytes that a worker needs besides its staging buffers."""
        return self.method.scratch_bytes(self.tensors)

    @property
    def factor_bytes(self) -> int:
        """Most memory that the factors of LoRA adapters take while the plan is run."""
        if not self.numbers.products:
            return 0
        per_tensor = (sum(map(factor_bytes, tensor.sources)) for tensor in self.tensors)
        return TENSORS_AT_ONCE * max(per_tensor, default=0)

    @property
    def gathered_bytes(self) -> int:
        """Bytes that it takes to know where gathered rows come from, here and in the compiled module."""
        numbers = self.numbers
        return 2 * sum(
            len(rows) * rows.itemsize for rows in (numbers.row_runs, numbers.row_terms, numbers.constants)
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the user may not expect of the result."""
        return (*self.about_inputs, *self.method.notes(self.tensors))

    @property
    def nbytes(self) -> int:
        """Tensor bytes that all outputs together hold."""
        shards = [shard for output in self.outputs for shard in output.layout.shards]
        return sum(shard.nbytes - len(shard.header) for shard in shards)

    @cached_property
    def key(self) -> str:
        """Content hash of the plan: equal keys write equal bytes, as long as the input files are the same."""
        files = [place_of(file) for file in self.input_files]
        blocks = [[[weight.hex() for weight in row] for row in block] for block in self.blocks]
        digest = hashlib.sha256(json.dumps([files, blocks]).encode())
        for output in self.outputs:
            for shard in output.layout.shards:
                digest.update(hashlib.sha256(shard.header).digest())
        own = [(tensor.block, tensor.origin) for tensor in self.tensors]
        digest.update(repr(own).encode())
        for rows in self.numbers.arrays:
            digest.update(len(rows).to_bytes(8, "little") + rows.tobytes())
        return digest.hexdigest()


def build_plan(
    models: Iterable[Checkpoint],
    wanted: Sequence[WantedTensor],
    metadata: Mapping[str, Mapping[str, str]],
    method: Method,
    shard_bytes: int | None = None,
    side_files: Iterable[Path] = (),
    about_inputs: tuple[str, ...] = (),
    doubts: tuple[str, ...] = (),
    config: Mapping[str, Any] | None = None,
) -> MergePlan:
    """Lay the outputs out, and put the tensors in the order in which they will be written."""
    # `metadata` is the free text in the headers of each output, by its name [M]; a file holds at most
    # `shard_bytes` of tensors. MixtureError if a tensor's weights do not fit its sources or the outputs, or
    # are not finite.
    entries = [tensor.whole for tensor in wanted]
    outputs = tuple(
        PlannedCheckpoint(name, plan_layout(entries, notes, shard_bytes)) for name, notes in metadata.items()
    )
    by_name = {tensor.entry.name: tensor for tensor in wanted}
    blocks: dict[WeightBlock, int] = {}
    tensors = []
    for number, shard in enumerate(outputs[0].layout.shards):
        offsets = [output.layout.shards[number].offsets for output in outputs]
        for name in shard.offsets:
            rows: WantedTensor | None = by_name[name]
            behind = 0
            while rows is not None:
                places = tuple([(number, each[name] + behind) for each in offsets])
                tensors.append(_planned(rows, places, blocks))
                if rows.tail is not None:
                    behind += rows.entry.nbytes
                rows = rows.tail
    opened = opened_files(models) | identify(side_files)
    return MergePlan(
        opened, outputs, tuple(tensors), tuple(blocks), method, about_inputs, doubts, config or {}
    )


def _planned(
    tensor: WantedTensor, places: tuple[tuple[int, int], ...], blocks: dict[WeightBlock, int]
) -> PlannedTensor:
    entry, sources, _, settings, origin, copied, _ = tensor
    block = _block_number(tensor, blocks, len(places))
    return PlannedTensor(entry, sources, places, block, settings, origin, copied)


def _block_number(tensor: WantedTensor, blocks: dict[WeightBlock, int], n_outputs: int) -> int | None:
    block = tensor.weights
    if block is None:
        return None
    known, name, n_inputs = blocks.get(block), tensor.entry.name, len(tensor.sources)
    if known is not None:
        return known
    if len(block) != n_outputs or any(len(row) != n_inputs for row in block):
        got = [len(row) for row in block]
        raise MixtureError(
            f"weights of tensor {name!r} have rows of {got}; wanted {n_outputs} rows of {n_inputs}"
        )
    for row in block:
        if not all(map(math.isfinite, row)) or (n_inputs > 1 and not any(row)):
            raise MixtureError(f"weights of tensor {name!r} must be finite and not all zero, got {list(row)}")
    return blocks.setdefault(block, len(blocks))


def _row_bytes(method: Method, tensor: PlannedTensor) -> int:
    length = method.row_length(tensor.entry.shape) or 0
    # Inputs of different types widen to one; adapted ones are formed in float64.
    if any(isinstance(source, AdaptedTensor) for source in tensor.sources):
        return length * SIZES["F64"]
    return length * max(4, SIZES[tensor.entry.dtype], *(SIZES[source.dtype] for source in tensor.sources))


def bytes_before(plan: MergePlan, position: tuple[int, int]) -> int:
    """Tensor bytes of all outputs before a position: number of a tensor, and of its element."""
    tensor, element = position
    whole = sum(planned.entry.nbytes for planned in plan.tensors[:tensor])
    part = element * element_size(plan.tensors[tensor]) if element else 0
    return (whole + part) * len(plan.outputs)
