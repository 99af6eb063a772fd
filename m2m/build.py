"""What this build of m2m can do, without importing torch."""

from __future__ import annotations

import os
from platform import python_version
from typing import TypedDict

from m2m import _core
from m2m.version import __version__


class BuildInfo(TypedDict):
    """Facts about the compiled module and this machine.

    Attributes:
        version: Version of m2m.
        compiler: The C++ compiler's own version string.
        cuda: Whether the CUDA kernels were built in.
        cuda_archs: GPU architectures with machine code; later ones run from PTX.
        isa_available: CPU instruction sets that this machine can run, slowest first.
        isa: The one in use.
        threads: CPU threads this process may use.
    """

    version: str
    compiler: str
    cuda: bool
    cuda_archs: list[str]
    isa_available: list[str]
    isa: str
    threads: int


def build_info() -> BuildInfo:
    """Tell what was built and what this machine runs it with.

    Returns:
        The facts, ready for a bug report.
    """
    archs = _core.cuda_archs.split(",") if _core.cuda_archs else []
    return BuildInfo(
        version=__version__,
        compiler=_core.compiler,
        cuda=bool(archs),
        cuda_archs=archs,
        isa_available=_core.available_isas(),
        isa=_core.current_isa(),
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def build_line() -> str:
    """Tell in one line what was built, as `--version` does."""
    info = build_info()
    cuda = f"CUDA for {', '.join(info['cuda_archs'])}" if info["cuda"] else "no CUDA"
    sets = ", ".join(info["isa_available"])
    return f"C++ compiler {info['compiler']}; {cuda}; {info['isa']} of {sets}; Python {python_version()}"
