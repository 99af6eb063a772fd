"""Where numbers are computed: the CPU, or a CUDA device by number; one thread where results must repeat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from m2m.build import build_info
from m2m.errors import ConfigError

_NAME = re.compile(r"cpu|cuda(?::(\d{1,3}))?")


def cuda_number(name: str) -> int | None:
    """The number of a CUDA device, `cuda` or `cuda:1` and so on; None for `cpu`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"device {name!r}: wanted cpu, cuda, or cuda:1 and so on")
    return None if name == "cpu" else int(match[1] or 0)


def check_built_for_cuda(number: int) -> None:
    """Refuse a CUDA device where the compiled module has no kernels for one."""
    if not build_info()["cuda"]:
        raise ConfigError(f"device 'cuda:{number}': this m2m was built without CUDA (see `m2m doctor`)")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one torch thread inside the block: the same bits on any number of cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
