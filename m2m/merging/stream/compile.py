"""From a merge plan to the compiled stream's own."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.merging.plan.plan import MergePlan

if TYPE_CHECKING:
    from m2m._core import StreamPlan

#: Files that the rest of the process may open meanwhile.
_OTHER_FILES = 32


def compile_plan(plan: MergePlan, files: Sequence[Path]) -> StreamPlan:
    """Give a plan's files and tensors to the compiled module.

    Args:
        plan: The plan.
        files: Its output files, shard by shard of the first output, then of the second, and so on.

    Returns:
        The compiled plan.
    """
    from m2m._core import StreamPlan

    numbers = plan.numbers
    return StreamPlan(
        input_files=[os.fsencode(file) for file in numbers.files],
        output_files=[os.fsencode(file) for file in files],
        n_outputs=len(plan.outputs),
        tensors=numbers.tensors,
        inputs=numbers.inputs,
        products=numbers.products,
        adapted=numbers.adapted,
        scales=numbers.scales,
        outputs=numbers.outputs,
        most_open=_most_open(len(numbers.files) + len(files)),
    )


def _most_open(files: int) -> int:
    # Raises the limit if these are too many, and says how many of them can be open at a time. The limit stays
    # raised: who runs beside or after this may have counted on it.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = _open_files() + _OTHER_FILES
    wanted = files + others
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # a sandbox may refuse; the compiled module gets by with fewer
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return files if soft == resource.RLIM_INFINITY else max(1, min(files, soft - others))


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return _OTHER_FILES
