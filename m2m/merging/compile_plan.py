"""From a merge plan to the compiled stream's own."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.merging.plan import MergePlan

if TYPE_CHECKING:
    from m2m._core import StreamPlan

#: Files that the rest of the process may hold open.
_OTHER_FILES = 128


def compile_plan(plan: MergePlan, files: Sequence[Path]) -> StreamPlan:
    """Open a plan's files and give its tensors to the compiled module.

    Args:
        plan: The plan.
        files: Its output files, shard by shard of the first output, then of the second, and so on.

    Returns:
        The compiled plan.
    """
    from m2m._core import StreamPlan

    numbers = plan.numbers
    _allow_open_files(len(numbers.files) + len(files))
    return StreamPlan(
        input_files=[str(file) for file in numbers.files],
        output_files=[str(file) for file in files],
        n_outputs=len(plan.outputs),
        tensors=numbers.tensors,
        inputs=numbers.inputs,
        products=numbers.products,
        adapted=numbers.adapted,
        scales=numbers.scales,
        outputs=numbers.outputs,
    )


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
