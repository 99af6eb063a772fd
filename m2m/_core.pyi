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

class Stream:
    """A streamed merge; it starts when it is made and stops when it is dropped."""

    def __init__(
        self,
        *,
        input_files: Any,
        output_files: Any,
        n_outputs: int,
        tensors: Any,
        inputs: Any,
        products: Any,
        outputs: Any,
        blocks: Any,
        weights: Any,
        threads: int,
        slot_bytes: int,
        start: Any,
        allow_nonfinite: bool,
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
