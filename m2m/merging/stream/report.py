"""What a merge did."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m2m.checkpoint.remote.session import written
from m2m.merging.plan.plan import MergePlan
from m2m.merging.stream.execute import Execution
from m2m.merging.stream.memory import Staging
from m2m.support.process_memory import peak_resident_bytes


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Attributes:
        out: The folder that was made, or its address.
        folders: The checkpoint folders in it: itself, or one a candidate.
        tensors: Tensors in each checkpoint.
        wall_s: Time from the call to the finished folder, in seconds.
        read_bytes: Tensor bytes read from the inputs.
        written_bytes: Tensor bytes written.
        resumed_bytes: Tensor bytes of the outputs that an earlier, interrupted run had written.
        peak_rss_bytes: Most memory the process has held since it started, file pages included.
        peak_anon_bytes: Most memory seen during the merge that is not a file's, if the system tells.
        threads: Workers.
        slot_bytes: Staging memory of one input or output, a worker.
        fetched_bytes: Tensor bytes that were fetched from elsewhere.
        sent_bytes: Bytes of weight files that were sent elsewhere.
        peak_cache_bytes: Most tensor bytes of inputs that lie elsewhere on this machine's disk at a time; of
            several workers those of one.
        notes: What the user may not expect of the result, as tensors that the method had no estimates of.
        warnings: What makes the merge doubtful.
    """

    out: Path | str
    folders: tuple[Path | str, ...]
    tensors: int
    wall_s: float
    read_bytes: int
    written_bytes: int
    resumed_bytes: int
    peak_rss_bytes: int
    peak_anon_bytes: int | None
    threads: int
    slot_bytes: int
    fetched_bytes: int = 0
    sent_bytes: int = 0
    peak_cache_bytes: int = 0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Turn the report into what JSON can hold.

        Returns:
            The attributes by name, paths as text.
        """
        return {**asdict(self), "out": str(self.out), "folders": [str(folder) for folder in self.folders]}


def make_report(
    plan: MergePlan,
    out: Path | str,
    done: Execution,
    resumed_bytes: int,
    staging: Staging,
    started: float,
    sent_bytes: int = 0,
) -> MergeReport:
    """Say what was done."""
    return MergeReport(
        out=out,
        folders=tuple(
            f"{out}/{output.name}".rstrip("/") if isinstance(out, str) else out / output.name
            for output in plan.outputs
        ),
        tensors=len(plan.tensors),
        wall_s=time.perf_counter() - started,
        read_bytes=done.read_bytes,
        written_bytes=done.written_bytes,
        resumed_bytes=resumed_bytes,
        peak_rss_bytes=peak_resident_bytes(),
        peak_anon_bytes=done.peak_anon_bytes,
        threads=staging.threads,
        slot_bytes=staging.slot_bytes,
        fetched_bytes=done.fetched_bytes,
        sent_bytes=sent_bytes,
        peak_cache_bytes=done.peak_cache_bytes,
        notes=tuple(map(written, plan.notes)),
        warnings=tuple(map(written, plan.doubts)),
    )
