"""Tensors of a merge: what each comes from and where it goes; all of a plan's as flat numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from m2m.checkpoint.header import SIZES, TensorInfo
from m2m.checkpoint.writer import Entry
from m2m.merging.lora.additions import AdaptedTensor, Product, StackedProduct
from m2m.merging.methods.parameters import Settings
from m2m.merging.vocabulary.gathered import RUN_NUMBERS, TERM_NUMBERS, GatheredTensor, RowMap

#: What a tensor of the outputs comes from: a stored tensor, what a LoRA adapter adds, an adapted tensor, or
#: one whose rows lie in several places.
TensorSource = TensorInfo | Product | AdaptedTensor | GatheredTensor
#: A tensor's weights: a row a candidate. [M, N]
WeightBlock = tuple[tuple[float, ...], ...]
#: The compiled module's numbers for element types; a copied tensor's type is without meaning there.
_DTYPE_NUMBERS = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3}
#: Numbers that describe a place, a product and a gathered input to the compiled module.
_PLACE_NUMBERS, _PRODUCT_NUMBERS, _GATHERED_NUMBERS = 3, 13, 5
#: What stands in place of a file's number where an input is formed.
_PRODUCT, _ADAPTED, _GATHERED = -1, -2, -3
#: The same for a source of rows that is one row in memory.
_CONSTANT = -4


class WantedTensor(NamedTuple):
    """What one tensor of the outputs is made of.

    Attributes:
        entry: Its name, output type and shape.
        sources: The tensors it comes from: the base model's if the method uses it, then the experts', then
            what else a method reads, as estimates of each element. [N]
        weights: Their weights [M, N], where they are known before anything is read.
        settings: The method's parameters for each output, where weights do not say it all. [M] or empty
        origin: Which source is the base model's, if one is.
        copied: Whether the sources must be equal, and are copied.
        tail: Rows that are written behind it; `entry` is without them.
    """

    entry: Entry
    sources: tuple[TensorSource, ...]
    weights: WeightBlock | None = None
    settings: tuple[Settings, ...] = ()
    origin: int | None = None
    copied: bool = False
    tail: WantedTensor | None = None

    @property
    def whole(self) -> Entry:
        """The tensor as it is written, the tail with it."""
        if self.tail is None:
            return self.entry
        rows = self.entry.shape[0] + self.tail.whole.shape[0]
        return self.entry._replace(shape=(rows, *self.entry.shape[1:]))


class PlannedTensor(NamedTuple):
    """How one tensor of the outputs comes about."""

    #: Its name, output type and shape.
    entry: Entry
    #: The tensors it comes from, as in `WantedTensor`. [N]
    sources: tuple[TensorSource, ...]
    #: In which shard of each output it goes, and at which byte. [M]
    places: tuple[tuple[int, int], ...]
    #: Number of its weights, where they are known before anything is read.
    block: int | None
    #: The method's parameters for each output, where weights do not say it all. [M] or empty
    settings: tuple[Settings, ...]
    #: Which source is the base model's, if one is.
    origin: int | None
    #: Whether the sources must be equal, and are copied.
    copied: bool


def files_of(source: TensorSource) -> tuple[Path, ...]:
    """The files that an input is read from: one, or the base model's and the adapter's."""
    if isinstance(source, AdaptedTensor):
        return source.base.file, source.added.file
    if isinstance(source, GatheredTensor):
        return tuple(dict.fromkeys(one.file for one in source.sources))
    return (source.file,)


def reads_of(source: TensorSource | StackedProduct) -> tuple[TensorInfo, ...]:
    """The stored tensors that an input is read from."""
    if isinstance(source, AdaptedTensor):
        gains = () if source.magnitudes is None else (source.magnitudes,)
        return (source.base, *reads_of(source.added), *gains)
    if isinstance(source, StackedProduct):
        return tuple(info for product in source.products for info in reads_of(product))
    if isinstance(source, Product):
        return source.left, source.right
    return source.sources if isinstance(source, GatheredTensor) else (source,)


def moved(source: TensorSource, places: Mapping[Path, Path]) -> TensorSource:
    """The same input, read from other files where `places` has some in place of its own."""
    if isinstance(source, TensorInfo):
        return _moved(source, places)
    if isinstance(source, Product):
        return source._replace(left=_moved(source.left, places), right=_moved(source.right, places))
    if isinstance(source, GatheredTensor):
        return source._replace(sources=tuple(_moved(info, places) for info in source.sources))
    assert not isinstance(source.added, StackedProduct)  # those are planned one by one
    added: Any = moved(source.added, places)
    gains = None if source.magnitudes is None else _moved(source.magnitudes, places)
    return source._replace(base=_moved(source.base, places), added=added, magnitudes=gains)


def _moved(info: TensorInfo, places: Mapping[Path, Path]) -> TensorInfo:
    return info._replace(file=places.get(info.file, info.file))


def product_of(source: TensorSource) -> Product | None:
    """What of an input is formed from factors, if anything is."""
    added = source.added if isinstance(source, AdaptedTensor) else source
    return added if isinstance(added, Product) else None


def factor_bytes(source: TensorSource) -> int:
    """Bytes that the factors of an input take in memory, and the gains of its rows or columns."""
    product = product_of(source)
    gains = source.magnitudes if isinstance(source, AdaptedTensor) else None
    of_gains = 0 if gains is None else gains.elements * SIZES["F64"]
    return of_gains if product is None else of_gains + product.factor_bytes


def element_size(tensor: PlannedTensor) -> int:
    """Bytes of one counted element in the outputs; a copied tensor is counted in bytes."""
    return 1 if tensor.copied else SIZES[tensor.entry.dtype]


class PlanNumbers:
    """Rows of numbers that refer to each other, and to files, by position.

    Attributes:
        files: The input files, in the order of first use.
        tensors: Whether it is copied, elements (bytes of a copied one), inputs N. [T, 3]
        inputs: File, offset and type of what is read; -1 or -2 and a number of what is formed. [ΣN, 3]
        products: Shape, rank, and where the factors lie. [, 13]
        adapted: What adapters add to, what they add, and magnitudes: file, offset, type of each; whether
            there are magnitudes, and whether of columns. [, 11]
        scales: The factors before what adapters add.
        gathered: Width of a row, and which runs and sources are its; of inputs whose rows are gathered. [, 5]
        row_sources: What rows are taken from: file, offset, type; -4 and an offset in `constants`. [, 3]
        row_runs: First row, source, row. [, 3]
        row_terms: Source and row of what means are of. [, 2]
        constants: Rows that stand for themselves.
        outputs: File, offset and type. [T · M, 3]
    """

    def __init__(self, tensors: Iterable[PlannedTensor], shards: int) -> None:
        self.tensors, self.inputs, self.outputs = array("q"), array("q"), array("q")
        self.products, self.adapted, self.scales = array("q"), array("q"), array("d")
        self.gathered, self.row_sources = array("q"), array("q")
        self.row_runs, self.row_terms, self.constants = array("i"), array("i"), array("B")
        self._maps: dict[int, tuple[int, int]] = {}
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
    def arrays(self) -> tuple[array[int] | array[float], ...]:
        """All rows of numbers."""
        return (
            self.tensors, self.inputs, self.products, self.adapted, self.scales, self.outputs,
            self.gathered, self.row_sources, self.row_runs, self.row_terms, self.constants,
        )  # fmt: skip

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
        if isinstance(source, GatheredTensor):
            return _GATHERED, self._add_gathered(source), _DTYPE_NUMBERS[source.dtype]
        lengths = source.magnitudes
        place = (0, 0, 0) if lengths is None else self._place(lengths)
        assert not isinstance(source.added, StackedProduct)  # those are planned one by one
        self.adapted.extend((*self._place(source.base), *self._place(source.added), *place))
        self.adapted.extend((lengths is not None, source.by_column))
        self.scales.append(source.scale)
        return _ADAPTED, len(self.scales) - 1, _DTYPE_NUMBERS[source.dtype]

    def _add_gathered(self, tensor: GatheredTensor) -> int:
        number, first = len(self.gathered) // _GATHERED_NUMBERS, len(self.row_sources) // _PLACE_NUMBERS
        for source in tensor.sources:
            self.row_sources.extend(self._place(source))
        for row in (bytes(tensor.width * SIZES[tensor.dtype]), tensor.padding):
            if row:
                self.row_sources.extend((_CONSTANT, len(self.constants), _DTYPE_NUMBERS[tensor.dtype]))
                self.constants.frombytes(row)
        count = len(self.row_sources) // _PLACE_NUMBERS - first
        self.gathered.extend((tensor.width, *self._runs(tensor.rows), first, count))
        return number

    def _runs(self, rows: RowMap) -> tuple[int, int]:
        # Embedding and head have the same rows.
        if id(rows) not in self._maps:
            first, terms = len(self.row_runs) // RUN_NUMBERS, len(self.row_terms) // TERM_NUMBERS
            runs = rows.runs[:]
            for place in range(0, len(runs), RUN_NUMBERS):
                if runs[place + 1] < 0:
                    runs[place + 2] += terms
            self.row_runs += runs
            self.row_terms += rows.terms
            self._maps[id(rows)] = first, len(runs) // RUN_NUMBERS
        return self._maps[id(rows)]

    def _add_product(self, product: Product) -> int:
        number = len(self.products) // _PRODUCT_NUMBERS
        row = [*product.shape, product.rank]
        for start, row_step, column_step in product.places():
            row += (*self._place(start), row_step, column_step)
        self.products.extend(row)
        return number
