"""Methods that select elements by thresholds, ranks or random draws over the tensor, then take each alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from m2m.merging.compiled import SelectPass
from m2m.merging.methods.parameters import Settings
from m2m.merging.methods.spec import Method

if TYPE_CHECKING:
    from m2m.merging.compiled import SelectSpec, StreamPass
    from m2m.merging.plan.tensors import PlannedTensor
    from m2m.merging.plan.window import Window

#: Bits of a magnitude that one look at a tensor counts by: 16 find a float32 threshold in two looks.
_DIGIT_BITS = 16
_LEAST_DIGIT_BITS = 8
#: Tensors that are looked at at the same time, at most: one for every worker, in a big machine.
_TENSORS_AT_ONCE = 16
#: Elements that statistics, riding along, take at once.
_SEGMENT = 65536
#: Elements from which on a threshold is guessed from a sample first; it costs a pass over the tensors.
_SAMPLED_FROM = 1 << 18
#: Bytes of the longest element.
_LONGEST = 8


@dataclass(frozen=True, kw_only=True)
class Selecting(Method):
    """A method that looks at a tensor as often as it needs (at small ones not at all), then writes it."""

    kind: ClassVar[Literal["selection"]] = "selection"

    @property
    def draws(self) -> bool:
        """Whether what is selected depends on the tensor's name, as random draws do."""
        return False

    @abstractmethod
    def select_spec(self, settings: Sequence[Settings], shape: Sequence[int]) -> SelectSpec:
        """What is done to a tensor, in numbers; settings of the outputs differ in weights only [M]."""

    def passes(self, window: Window) -> Iterator[StreamPass]:
        experts = max((len(tensor.sources) - 1 for _, tensor in window.merged()), default=0)
        selection = SelectPass(
            window.core,
            allow_nonfinite=window.allow_nonfinite,
            digit_bits=digit_bits(window.memory, experts),
            whole=min(window.slot_bytes // _LONGEST, _SEGMENT),
            guess_keys=guess_keys(window.memory, experts),
            sampled_from=_SAMPLED_FROM,
        )
        specs = _Specs(self)
        for number, tensor in window.merged():
            selection.add(number, specs.of(tensor))
        while selection.look():
            yield selection  # the same pass again and again: it looks until it knows enough
        yield selection


class _Specs:
    """What is done to a window's tensors; worked out once for those that differ only in their names."""

    def __init__(self, method: Selecting) -> None:
        self._method = method
        self._known: dict[tuple[object, ...], SelectSpec] = {}

    def of(self, tensor: PlannedTensor) -> SelectSpec:
        settings, shape = tensor.settings, tensor.entry.shape
        if self._method.draws:
            return self._method.select_spec(settings, shape)
        # By identity, which the window's tensors keep alive: tensors share what the recipe resolved once.
        key = (shape, *[id(part) for one in settings for part in (one.shared, one.each)])
        spec = self._known.get(key)
        if spec is None:
            spec = self._known[key] = self._method.select_spec(settings, shape)
        return spec


def digit_bits(memory: int, experts: int) -> int:
    """Choose how many bits one look counts by: more bits need fewer looks and more of `memory`, in bytes."""
    # Two edges an expert, 8 bytes a count.
    affordable = memory // (max(1, experts) * 2 * _TENSORS_AT_ONCE * 8)
    return max(_LEAST_DIGIT_BITS, min(_DIGIT_BITS, affordable.bit_length() - 1))


def guess_keys(memory: int, experts: int) -> int:
    """Choose how many keys near a guessed edge are held, an edge of an expert, by all tensors together."""
    # Half of `memory`, in bytes; two edges an expert, 8 bytes a key.
    return memory // 2 // (max(1, experts) * 2 * 8)
