"""Where a checkpoint's tensors lie in a module's: modules may join, split or turn what is stored apart."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from m2m.checkpoint.header import SIZES, TensorInfo
from m2m.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

#: Names that a message lists.
_SHOWN = 5


@dataclass(frozen=True)
class Part:
    """Part of a stored tensor, or all of it, and the box of a module's tensor that it fills.

    Attributes:
        stored: Name of the stored tensor.
        offset: Its first element, counted in the stored tensor.
        shape: Shape of the box. [*S]
        strides: How many elements of the stored tensor a step along each axis of the box is. [*S]
        target: Name of the module's tensor.
        start: Where the box begins in the module's tensor. [*S]
    """

    stored: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    target: str
    start: tuple[int, ...]

    @classmethod
    def whole(cls, stored: str, shape: Sequence[int], target: str) -> Part:
        """Make the part that is all of a stored tensor, and all of a module's."""
        return cls(stored, 0, tuple(shape), _contiguous(shape), target, (0,) * len(shape))

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_run(self) -> bool:
        """Whether its elements lie one after the other in the stored tensor, in the box's order."""
        steps = zip(self.shape, self.strides, _contiguous(self.shape), strict=True)
        return all(step == wanted for length, step, wanted in steps if length > 1)

    def of(self, tensor: Tensor) -> Tensor:
        """View the part of a stored tensor [*stored shape], contiguous: [*S]."""
        return tensor.as_strided(self.shape, self.strides, tensor.storage_offset() + self.offset)

    def within(self, tensor: Tensor) -> Tensor:
        """View the box of the module's tensor: [*S]."""
        for axis, (start, length) in enumerate(zip(self.start, self.shape, strict=True)):
            tensor = tensor.narrow(axis, start, length)
        return tensor

    def place(self, info: TensorInfo) -> TensorInfo | None:
        """Say where the part of a stored tensor lies on disk; None where it is no run of bytes."""
        if not self.is_run:
            return None
        size = SIZES[info.dtype]
        return info._replace(
            shape=self.shape, offset=info.offset + self.offset * size, nbytes=self.elements * size
        )


@dataclass(frozen=True)
class Box:
    """A box of a module's tensor, and what fills it.

    Attributes:
        parts: The stored parts that do, all of one shape: several where tied tensors are stored each.
    """

    parts: tuple[Part, ...]

    @property
    def first(self) -> Part:
        """The part that is read."""
        return self.parts[0]


@dataclass(frozen=True)
class Layout:
    """How stored tensors make up a module's.

    Attributes:
        parts: What lies where; of a stored tensor that the module has no use for, and knows not to, none.
        own: The module's tensors that are no weights and that it makes itself, as they are not stored.
    """

    parts: tuple[Part, ...]
    own: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def plain(cls, stored: Mapping[str, Sequence[int]], others: Mapping[str, str] | None = None) -> Layout:
        """Lay every tensor into the module's of its name.

        Args:
            stored: Shapes of stored tensors by name.
            others: Second names of stored tensors.

        Returns:
            The layout.
        """
        parts = [Part.whole(name, shape, name) for name, shape in stored.items()]
        parts += [Part.whole(kept, stored[kept], name) for name, kept in (others or {}).items()]
        return cls(tuple(parts))

    def boxes(self, who: str, module: Mapping[tuple[str, ...], Tensor]) -> dict[tuple[str, ...], list[Box]]:
        """Find what fills each tensor of a module.

        Args:
            who: What messages call the checkpoint.
            module: The module's tensors by their names, several where tensors are tied.

        Returns:
            By the same names, boxes that together are the tensor; nothing for what is the module's own.

        Raises:
            CheckpointError: If a tensor of the module is not filled, a stored tensor is not known to it, or
                their shapes differ; names them.
        """
        by_target: dict[str, list[Part]] = {}
        for part in self.parts:
            by_target.setdefault(part.target, []).append(part)
        found, missing = {}, []
        for names, tensor in module.items():
            parts = [part for name in names for part in by_target.pop(name, ())]
            if parts:
                found[names] = _boxes(who, parts, tensor.shape)
            elif not self.own.intersection(names):
                missing.append(names[0])
        unknown = sorted({part.stored for parts in by_target.values() for part in parts})
        if missing or unknown:
            raise CheckpointError(
                f"{who} does not fit the module: missing {missing[:_SHOWN]}, unknown {unknown[:_SHOWN]}"
            )
        return found


def _boxes(who: str, parts: Iterable[Part], shape: Sequence[int]) -> list[Box]:
    grouped: dict[tuple[tuple[int, ...], tuple[int, ...]], list[Part]] = {}
    for part in parts:
        grouped.setdefault((part.start, part.shape), []).append(part)
    boxes = [Box(tuple({part.stored: part for part in same}.values())) for same in grouped.values()]
    filled = sum(box.first.elements for box in boxes)
    stored = list(dict.fromkeys(box.first.stored for box in boxes))
    elements = math.prod(shape)
    fitting = all(_inside(box.first, shape) for box in boxes)
    if fitting and filled < elements:
        raise CheckpointError(
            f"{who}: {_listed(stored)} fill{'s' * (len(stored) == 1)} {filled} of {elements} elements of "
            f"the module's {boxes[0].first.target}: a tensor is lacking"
        )
    if not fitting or filled != elements:
        raise CheckpointError(
            f"{who}, tensor {_listed(stored)}: got {list(boxes[0].first.shape)}, wanted {list(shape)} as in "
            f"the module's {boxes[0].first.target}"
        )
    return boxes


def _inside(part: Part, shape: Sequence[int]) -> bool:
    return len(part.shape) == len(shape) and all(
        start + length <= size for start, length, size in zip(part.start, part.shape, shape, strict=True)
    )


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return next(iter(names)) + more
