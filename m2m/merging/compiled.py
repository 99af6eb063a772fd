"""The one door of merging to the compiled module: plans, passes and devices of streams, sums of products."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from m2m import _core
from m2m._core import (
    AgreementPass,
    ExpertSpec,
    FisherPass,
    GramPass,
    MergeDevice,
    MergePass,
    NearSwapPass,
    OverlapLook,
    OverlapMergePass,
    PreconditionedPass,
    RiderPass,
    SelectPass,
    SelectSpec,
    Stream,
    StreamPass,
    StreamPlan,
    VectorMergePass,
    lora_sum,
)
from m2m.checkpoint.remote.session import origin_of
from m2m.errors import ConfigError
from m2m.support.devices import check_built_for_cuda

if TYPE_CHECKING:
    from m2m.merging.plan.tensors import PlanNumbers

__all__ = [
    "AgreementPass",
    "ExpertSpec",
    "FisherPass",
    "GramPass",
    "MergeDevice",
    "MergePass",
    "NearSwapPass",
    "OverlapLook",
    "OverlapMergePass",
    "PreconditionedPass",
    "RiderPass",
    "SelectPass",
    "SelectSpec",
    "Stream",
    "StreamPass",
    "StreamPlan",
    "VectorMergePass",
    "compile_plan",
    "lora_sum",
    "merge_device",
]

#: Files that the rest of the process may open meanwhile.
_OTHER_FILES = 32


def compile_plan(numbers: PlanNumbers, outputs: int, files: Sequence[Path]) -> StreamPlan:
    """Give the compiled module a plan of M outputs, and the files of their shards in order."""
    most_open = _most_open(len(numbers.files) + len(files))
    if most_open < len(numbers.files) + len(files) and any(map(origin_of, numbers.files)):
        # A file that is opened again must be what it was, and a mirror is filled in meanwhile.
        raise ConfigError(
            f"only {most_open} files may be open at a time (ulimit -Hn); with models that lie elsewhere all "
            f"{len(numbers.files) + len(files)} must be: raise the limit, or fetch the models first"
        )
    return StreamPlan(
        input_files=[os.fsencode(file) for file in numbers.files],
        output_files=[os.fsencode(file) for file in files],
        n_outputs=outputs,
        tensors=numbers.tensors,
        inputs=numbers.inputs,
        products=numbers.products,
        adapted=numbers.adapted,
        scales=numbers.scales,
        gathered=numbers.gathered,
        row_sources=numbers.row_sources,
        row_runs=numbers.row_runs,
        row_terms=numbers.row_terms,
        constants=numbers.constants,
        outputs=numbers.outputs,
        most_open=most_open,
    )


def merge_device(number: int | None, workers: int) -> MergeDevice | None:
    """Take hold of a CUDA device for so many threads; nothing for the CPU."""
    if number is None:
        return None
    check_built_for_cuda(number)
    try:
        return _core.cuda_device(number, workers)
    except RuntimeError as error:
        raise ConfigError(f"device 'cuda:{number}' cannot be used: {error}") from error


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
