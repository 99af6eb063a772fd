"""Where candidates are merged and scored: a device by its name, and what it has free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from m2m.errors import ConfigError, InputError
from m2m.support.arguments import argument
from m2m.support.devices import check_built_for_cuda, cuda_number

CPU = torch.device("cpu")
#: How torch says that an operation was given tensors of two devices.
_TWO_DEVICES = re.compile(r"same device|expected device")


def open_device(name: str) -> torch.device:
    """Take hold of a device.

    Args:
        name: `cpu`, `cuda`, or `cuda:1` and so on.

    Returns:
        The device.

    Raises:
        ConfigError: If there is no such device, or m2m or torch cannot use it.
    """
    number = cuda_number(name)
    if number is None:
        return CPU
    check_built_for_cuda(number)
    where = f"device 'cuda:{number}' cannot be used"
    count = torch.cuda.device_count()
    if number >= count:
        raise ConfigError(f"{where}: torch {torch.__version__} finds {count} CUDA devices")
    device = torch.device("cuda", number)
    try:
        torch.cuda.mem_get_info(device)
    except RuntimeError as error:
        raise ConfigError(f"{where}: {_first_line(error)}") from error
    return device


def free_bytes(device: torch.device) -> int:
    """Say how much memory is free.

    Args:
        device: The CPU, or a CUDA device.

    Returns:
        Bytes that nobody uses; on a CUDA device, those too that torch keeps for this process.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        [available] = [line for line in lines if line.startswith("MemAvailable:")]
        return int(available.split()[1]) * 1024
    except (OSError, ValueError):  # another system: all there is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Say what to do where a device runs out of memory, or a module or task is only half on it.

    Args:
        device: The device.

    Yields:
        None: While the block runs.

    Raises:
        InputError: If the device has too little memory, or an operation meets tensors of two devices.
        RuntimeError: If something else is wrong.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{device} has too little memory: {_first_line(error)}; a smaller "
            f"{argument('memory')} keeps fewer models "
            "there and leaves more to the forward passes"
        ) from error
    except RuntimeError as error:
        if not _TWO_DEVICES.search(str(error)):
            raise
        raise InputError(
            f"the module or a task meets tensors that are not on {device}: {_first_line(error)}; it must "
            "make new ones where its inputs are"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
