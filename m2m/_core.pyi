"""Compiled core of m2m; private: m2m.ops is the door."""

from collections.abc import Sequence
from typing import Any

compiler: str
cuda_archs: str

def available_isas() -> list[str]: ...
def current_isa() -> str: ...
def use_isa(name: str) -> None: ...
def merge(outputs: Sequence[Any], inputs: Sequence[Any], weights: Any, threads: int) -> None: ...
def merge_cuda(
    outputs: Sequence[Any], inputs: Sequence[Any], weights: Any, device: int, stream: int
) -> None: ...
def lora_sum(outputs: Sequence[Any], terms: Sequence[Sequence[Any]], weights: Any, threads: int) -> None: ...

class StreamPlan:
    """Which bytes of which files become which others."""

    def __init__(
        self,
        *,
        input_files: Sequence[str | bytes],
        output_files: Sequence[str | bytes],
        n_outputs: int,
        tensors: Any,
        inputs: Any,
        products: Any,
        adapted: Any,
        scales: Any,
        gathered: Any,
        row_sources: Any,
        row_runs: Any,
        row_terms: Any,
        constants: Any,
        outputs: Any,
        most_open: int,
    ) -> None: ...
    def close_outputs(self) -> tuple[int, int] | None: ...

class StreamPass:
    """What is done with the chunks of some tensors of a plan."""

    @property
    def writes(self) -> bool: ...

class MergeDevice:
    """Where a pass computes its sums."""

def cuda_device(device: int, workers: int) -> MergeDevice: ...

class MergePass(StreamPass):
    """Writes weighted sums."""

    def __init__(
        self,
        plan: StreamPlan,
        first: int,
        *,
        block_of: Any,
        block_inputs: Any,
        weights: Any,
        allow_nonfinite: bool,
        device: MergeDevice | None = None,
    ) -> None: ...

class VectorMergePass(StreamPass):
    """Writes weighted sums, weights a row or column."""

    def __init__(
        self, plan: StreamPlan, first: int, *, tensors: Sequence[tuple[int, int, Any]], allow_nonfinite: bool
    ) -> None: ...

class NearSwapPass(StreamPass):
    """Moves each base weight by at most t."""

    def __init__(
        self, plan: StreamPlan, first: int, *, steps: Sequence[float], allow_nonfinite: bool
    ) -> None: ...

class FisherPass(StreamPass):
    """Averages with a weight an element."""

    def __init__(
        self,
        plan: StreamPlan,
        first: int,
        *,
        tensors: Sequence[tuple[float, Sequence[float]]],
        allow_nonfinite: bool,
    ) -> None: ...

class PreconditionedPass(StreamPass):
    """Adds task vectors in the metric of a mixture."""

    def __init__(
        self,
        plan: StreamPlan,
        first: int,
        *,
        tensors: Sequence[tuple[bool, float, float, Sequence[float]]],
        allow_nonfinite: bool,
    ) -> None: ...

class OverlapLook(StreamPass):
    """Counts elements that each expert moves, shared and alone."""

    def __init__(
        self, plan: StreamPlan, first: int, *, tensors: Sequence[tuple[float, Sequence[float]]]
    ) -> None: ...
    def counts(self, tensor: int) -> list[tuple[int, int]]: ...

class OverlapMergePass(StreamPass):
    """Averages what several experts move, keeps the rest."""

    def __init__(
        self,
        plan: StreamPlan,
        first: int,
        *,
        tensors: Sequence[tuple[float, Sequence[float]]],
        allow_nonfinite: bool,
    ) -> None: ...

class AgreementPass(StreamPass):
    """Adds what several experts have a stake in."""

    def __init__(
        self,
        plan: StreamPlan,
        first: int,
        agreement: str,
        *,
        tensors: Sequence[tuple[float, int, Sequence[float]]],
        allow_nonfinite: bool,
    ) -> None: ...

class GramPass(StreamPass):
    """Looks at inner products of points; if wanted at their signs."""

    def __init__(
        self,
        plan: StreamPlan,
        first: int,
        *,
        layout: Any,
        counts_signs: bool,
        squares: bool = False,
        ulps: bool = False,
    ) -> None: ...
    def triangles(self, tensor: int) -> list[float]: ...
    def square_triangles(self, tensor: int) -> list[float]: ...
    def signs(self, tensor: int) -> tuple[list[float], list[int], list[int]]: ...

class RiderPass(StreamPass):
    """A writing pass, and one that looks at the same chunks."""

    def __init__(self, plan: StreamPlan, writer: StreamPass, rider: StreamPass) -> None: ...

class Stream:
    """A pass under way; it starts when it is made and stops when it is dropped."""

    def __init__(
        self,
        plan: StreamPlan,
        stream_pass: StreamPass,
        *,
        threads: int,
        slot_bytes: int,
        start: tuple[int, int],
        end: int,
    ) -> None: ...
    def wait(self, seconds: float) -> bool: ...
    def stop(self) -> None: ...
    @property
    def position(self) -> tuple[int, int]: ...
    @property
    def read_bytes(self) -> int: ...
    @property
    def written_bytes(self) -> int: ...
    @property
    def failure(self) -> Any: ...

class ExpertSpec:
    """How one expert's task vector is trimmed and scaled."""

    def __init__(
        self,
        *,
        trim: str,
        scale: float = 1.0,
        keeps_norm: bool = False,
        dropped: int = 0,
        kept: int = 0,
        key: tuple[int, int] = (0, 0),
        keep_below: int = 0,
        low: float = 0.0,
        high: float = 0.0,
        to_ends: bool = False,
        single: float = 0.0,
        inverse_scale: bool = False,
    ) -> None: ...

class SelectSpec:
    """What a selecting method does to one tensor; `outputs` holds weights and divisor of each."""

    def __init__(
        self,
        *,
        combine: str,
        tie_is_plus: bool = False,
        normalise: bool = False,
        factor: float = 1.0,
        share: float = 1.0,
        row: int = 1,
        experts: Sequence[ExpertSpec],
        outputs: Sequence[tuple[Sequence[float], float]],
    ) -> None: ...

class SelectPass(StreamPass):
    """Looks at tensors as often as they need, then writes them."""

    def __init__(
        self,
        plan: StreamPlan,
        *,
        allow_nonfinite: bool,
        digit_bits: int,
        whole: int,
        guess_keys: int,
        sampled_from: int,
    ) -> None: ...
    def add(self, tensor: int, spec: SelectSpec) -> None: ...
    def look(self) -> bool: ...

class MappedFile:
    """A file's bytes where they lie; writing to them changes no file."""

    def __init__(self, path: str) -> None: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def take_lost_files() -> list[str]: ...
