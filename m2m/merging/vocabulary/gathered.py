"""A tensor whose rows lie in several places: an embedding or head under another vocabulary."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from m2m.checkpoint.checks import vocabulary_axis
from m2m.checkpoint.header import SIZES, TORCH_NAMES, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

#: Bytes of rows that are in memory at a time where rows are looked at before the merge.
_BLOCK_BYTES = 4 * 2**20
#: Numbers of a run, and of a term of a mean.
RUN_NUMBERS, TERM_NUMBERS = 3, 2


class RowMap:
    """Where the rows of an output vocabulary come from, as one model has them.

    From row `first` on, up to the next run, rows are those of source `source` from its `row` on. Sources are
    the K models of the merge, then (number K) zeros, then (K + 1) the row that pads. A negative source is one
    row: the mean of −source terms, from number `row` on.

    Attributes:
        rows: Number of rows.
        runs: First row, source and row of each run. [, 3]
        terms: Source and row of each term of a mean. [, 2]
    """

    def __init__(self, sources: int) -> None:
        """Begin without rows, for K sources."""
        self.rows = 0
        self.runs, self.terms = array("i"), array("i")
        self._sources = sources

    @property
    def zeros(self) -> int:
        """Number of the source that is zero."""
        return self._sources

    @property
    def padding(self) -> int:
        """Number of the source that is the padding row."""
        return self._sources + 1

    def add(self, source: int, row: int = 0, count: int = 1) -> None:
        """Add rows of a source, from one of its rows on; constant sources have one."""
        self._extend(source, row)
        self.rows += count

    def add_mean(self, terms: Sequence[tuple[int, int]]) -> None:
        """Add a row that is a mean; terms are source and row."""
        self.runs.extend((self.rows, -len(terms), len(self.terms) // TERM_NUMBERS))
        for term in terms:
            self.terms.extend(term)
        self.rows += 1

    def _extend(self, source: int, row: int) -> None:
        if self.runs:
            first, last, start = self.runs[-RUN_NUMBERS:]
            on = start if source >= self._sources else start + self.rows - first
            if last == source and row == on:
                return
        self.runs.extend((self.rows, source, row))

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """Source, row and number of rows of each run."""
        for place in range(0, len(self.runs), RUN_NUMBERS):
            first, source, row = self.runs[place : place + RUN_NUMBERS]
            after = self.runs[place + RUN_NUMBERS] if place + RUN_NUMBERS < len(self.runs) else self.rows
            yield source, row, after - first

    def mean_of(self, row: int, count: int) -> Iterator[tuple[int, int]]:
        """Terms of a mean: source and row of each."""
        for place in range(row * TERM_NUMBERS, (row + count) * TERM_NUMBERS, TERM_NUMBERS):
            yield self.terms[place], self.terms[place + 1]

    def is_identity(self, source: int, rows: int) -> bool:
        """Whether it is all rows of one source, as they are."""
        return self.rows == rows and self.runs.tolist() == [0, source, 0]


class GatheredTensor(NamedTuple):
    """A model's tensor under the output's vocabulary.

    Means are summed in float64 in the order of their terms, divided by their number and rounded once to
    `dtype`.

    Attributes:
        name: Its name.
        dtype: Element type by its safetensors name: all sources' own, or one that they widen to exactly.
        shape: Its shape; the first axis that is not 1 is the vocabulary.
        sources: The models' tensors that rows are taken from. [K]
        own: Which of them is the model's.
        rows: Where each row comes from.
        padding: The row that pads, in `dtype`; empty where there is none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: tuple[TensorInfo, ...]
    own: int
    rows: RowMap
    padding: bytes = b""

    @property
    def file(self) -> Path:
        """The file that holds the model's own rows."""
        return self.sources[self.own].file

    @property
    def width(self) -> int:
        """Elements of a row."""
        return math.prod(self.shape) // self.rows.rows

    @property
    def nbytes(self) -> int:
        """Its length in bytes."""
        return math.prod(self.shape) * SIZES[self.dtype]

    @property
    def elements(self) -> int:
        """Number of elements P."""
        return math.prod(self.shape)

    def padded(self) -> GatheredTensor:
        """Fill the padding rows in: the mean of all others, in float64 and in their order, rounded once."""
        # A head gives a padding token no more than the usual chance then (Hewitt 2021, vocabulary expansion).
        import torch

        from m2m.merging.methods.exact import round_once

        total, count = torch.zeros(self.width, dtype=torch.float64), 0
        for block in self.blocks():
            for row in block.double():
                total += row
            count += len(block)
        mean = round_once(total / count, getattr(torch, TORCH_NAMES[self.dtype]))
        return self._replace(padding=bytes(mean.view(torch.uint8).numpy().data))

    def form(self) -> Tensor:
        """Form it whole, as the stream does: its reference twin [*shape]."""
        import torch

        return torch.cat([*self.blocks()]).reshape(self.shape)

    def blocks(self) -> Iterator[Tensor]:
        """Its rows in order, a few at a time [, width]; without padding that is not known."""
        import torch

        from m2m.merging.methods.exact import round_once

        dtype = getattr(torch, TORCH_NAMES[self.dtype])
        for source, row, count in self.rows.spans():
            if source < 0:
                terms = [self._read(*term, 1).double() for term in self.rows.mean_of(row, -source)]
                total = terms[0]
                for term in terms[1:]:
                    total = total + term
                yield round_once(total / len(terms), dtype)
            elif source >= len(self.sources):
                constant = (
                    bytes(self.width * SIZES[self.dtype]) if source == self.rows.zeros else self.padding
                )
                if constant:
                    yield torch.frombuffer(bytearray(constant), dtype=dtype).expand(count, -1)
            else:
                step = max(1, _BLOCK_BYTES // (self.width * SIZES[self.sources[source].dtype]))
                for start in range(0, count, step):
                    yield self._read(source, row + start, min(step, count - start)).to(dtype)

    def _read(self, source: int, row: int, count: int) -> Tensor:
        from m2m.checkpoint.checkpoint import read_tensor

        info = self.sources[source]
        row_bytes = self.width * SIZES[info.dtype]
        place = info.offset + row * row_bytes
        return read_tensor(info._replace(shape=(count, self.width), offset=place, nbytes=count * row_bytes))


def with_rows(shape: Sequence[int], rows: int) -> tuple[int, ...]:
    """A vocabulary tensor's shape with another number of rows."""
    axis = vocabulary_axis(shape)
    return (*shape[:axis], rows, *shape[axis + 1 :])
