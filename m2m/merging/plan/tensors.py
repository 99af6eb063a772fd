"""One tensor of a merge: what it comes from and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from m2m.checkpoint.header import SIZES, TensorInfo
from m2m.checkpoint.writer import Entry
from m2m.merging.lora.adapted import AdaptedTensor
from m2m.merging.lora.product import Product
from m2m.merging.methods.spec import Settings

#: What a tensor of the outputs comes from: a stored tensor, what a LoRA adapter adds, or an adapted tensor.
TensorSource = TensorInfo | Product | AdaptedTensor
#: A tensor's weights: a row a candidate. [M, N]
WeightBlock = tuple[tuple[float, ...], ...]


class WantedTensor(NamedTuple):
    """What one tensor of the outputs is made of.

    Attributes:
        entry: Its name, output type and shape.
        sources: The tensors it comes from: the base model's if the method uses it, then the experts', then
            what else a method reads, as Fisher estimates. [N]
        weights: Their weights [M, N], where they are known before anything is read.
        settings: The method's parameters for each output, where weights do not say it all. [M] or empty
        origin: Which source is the base model's, if one is.
        copied: Whether the sources must be equal, and are copied.
    """

    entry: Entry
    sources: tuple[TensorSource, ...]
    weights: WeightBlock | None = None
    settings: tuple[Settings, ...] = ()
    origin: int | None = None
    copied: bool = False


class PlannedTensor(NamedTuple):
    """How one tensor of the outputs comes about.

    Attributes:
        entry: Its name, output type and shape.
        sources: The tensors it comes from, as in `WantedTensor`. [N]
        places: In which shard of each output it goes, and at which byte. [M]
        block: Number of its weights, where they are known before anything is read.
        settings: The method's parameters for each output, where weights do not say it all. [M] or empty
        origin: Which source is the base model's, if one is.
        copied: Whether the sources must be equal, and are copied.
    """

    entry: Entry
    sources: tuple[TensorSource, ...]
    places: tuple[tuple[int, int], ...]
    block: int | None
    settings: tuple[Settings, ...]
    origin: int | None
    copied: bool


def files_of(source: TensorSource) -> tuple[Path, ...]:
    """The files that an input is read from: one, or the base model's and the adapter's."""
    if isinstance(source, AdaptedTensor):
        return source.base.file, source.added.file
    return (source.file,)


def product_of(source: TensorSource) -> Product | None:
    """What of an input is formed from factors, if anything is."""
    added = source.added if isinstance(source, AdaptedTensor) else source
    return added if isinstance(added, Product) else None


def element_size(tensor: PlannedTensor) -> int:
    """Bytes of one counted element in the outputs; a copied tensor is counted in bytes."""
    return 1 if tensor.copied else SIZES[tensor.entry.dtype]
