"""Where weighted sums are computed: by the worker threads, or on a CUDA device that gives the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.errors import ConfigError
from m2m.merging.methods.spec import Method
from m2m.support.devices import check_built_for_cuda, cuda_number

if TYPE_CHECKING:
    from m2m._core import MergeDevice

#: Staging memory of one input or output, a worker, on the way to a device: long enough that starting copies
#: and kernels does not count. A guess: no GPU was at hand to measure on.
_CUDA_SLOT_BYTES = 2 * 2**20


def parse_device(name: str, method: Method | None) -> int | None:
    """Understand the name of a device.

    Args:
        name: `cpu`, `cuda`, or `cuda:1` and so on.
        method: The merge method; none for plain weights.

    Returns:
        The number of a CUDA device; nothing for the CPU.

    Raises:
        ConfigError: If there is no such kind of device, or it does not compute this method.
    """
    number = cuda_number(name)
    if number is not None and method is not None and method.kind != "weights":
        raise ConfigError(
            f"device {name!r}: merge_method {method.name} is computed on the CPU only; leave the device out"
        )
    return number


def slot_bytes_on(number: int | None) -> int | None:
    """Say how much staging memory suits a device.

    Args:
        number: Number of a CUDA device; nothing for the CPU.

    Returns:
        Bytes of one input or output, a worker; nothing for what suits the CPU.
    """
    return None if number is None else _CUDA_SLOT_BYTES


def open_device(number: int | None, workers: int) -> MergeDevice | None:
    """Take hold of a CUDA device.

    Args:
        number: Its number; nothing for the CPU.
        workers: Threads that will use it.

    Returns:
        The device; nothing for the CPU.

    Raises:
        ConfigError: If m2m was built without CUDA, or there is no driver or no such device.
    """
    if number is None:
        return None
    check_built_for_cuda(number)
    from m2m import _core

    try:
        return _core.cuda_device(number, workers)
    except RuntimeError as error:
        raise ConfigError(f"device 'cuda:{number}' cannot be used: {error}") from error
