"""Run a merge plan: lay out the output files, pass over the tensors by windows, hash what is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2m.checkpoint.remote.mirror import THREADS
from m2m.errors import RunFolderError
from m2m.merging.compiled import MergeDevice, StreamPass, StreamPlan, compile_plan
from m2m.merging.plan.plan import MergePlan
from m2m.merging.plan.window import Window
from m2m.merging.stream.memory import Staging
from m2m.merging.stream.output_files import FollowingHasher, lay_out
from m2m.merging.stream.passes import PassRun, windows
from m2m.merging.stream.supply import supplied
from m2m.merging.stream.upload import ShardUpload
from m2m.merging.stream.work_folder import Position
from m2m.support.progress import Progress

#: Runs a writing pass over a window, with something of its own riding along.
Gather = Callable[[Window, StreamPass, PassRun], None]


@dataclass(frozen=True)
class Execution:
    """What running a plan took."""

    #: Tensor bytes read.
    read_bytes: int
    #: Tensor bytes written.
    written_bytes: int
    #: Most anonymous memory that was seen.
    peak_anon_bytes: int | None
    #: SHA-256 of each output file, by candidate and file name.
    hashes: dict[tuple[str, str], str]
    #: Tensor bytes fetched from elsewhere.
    fetched_bytes: int = 0
    #: Most bytes of what lies elsewhere that were in the cache at a time.
    peak_cache_bytes: int = 0
    #: Bytes of files that workers sent elsewhere.
    sent_bytes: int = 0


def execute(
    plan: MergePlan,
    folder: Path,
    staging: Staging,
    start: Position,
    *,
    allow_nonfinite: bool,
    note: Callable[[Position], None],
    progress: Progress | None,
    gather: Gather | None = None,
    device: MergeDevice | None = None,
    cache_bytes: int = 0,
    requests: int = THREADS,
    upload: ShardUpload | None = None,
) -> Execution:
    """Fill the outputs in `folder`; everything before `start` has been written already."""
    # `note` is told now and then how far the work has come, `gather` looks at what passes by while it is
    # written; `cache_bytes` hold what lies elsewhere, which comes by so many `requests` at a time, and
    # `upload` takes the outputs there. Raises what `PassRun` raises, and RunFolderError if what was written
    # is not there in the end.
    files = lay_out(plan, folder) if upload is None else upload.files
    run = PassRun(plan, compile_plan(plan.numbers, len(plan.outputs), files), staging, start, note, progress)
    if upload is not None:
        upload.report = run.report
    hashing = upload or FollowingHasher(plan, files, staging.threads, lambda: run.position)
    try:
        with supplied(plan, cache_bytes, run.report, requests) as supply:
            keepers = [keeper for keeper in (supply, upload) if keeper is not None]
            for window in windows(
                plan, run.core, start, staging, allow_nonfinite,
                single=gather is None, device=device, keepers=keepers,
            ):  # fmt: skip
                for stream_pass in plan.method.passes(window):
                    if stream_pass.writes and gather is not None:
                        gather(window, stream_pass, run)
                    else:
                        run(stream_pass, window)
        run.report()
        _close(run.core, files)
        hashes = hashing.result()
    except BaseException:
        run.stop()
        raise
    finally:
        hashing.stop()
    return Execution(
        run.read_bytes,
        run.written_bytes,
        run.peak_anon_bytes,
        hashes,
        0 if supply is None else supply.fetched_bytes,
        0 if supply is None else supply.peak_bytes,
    )


def _close(core: StreamPlan, files: Sequence[Path]) -> None:
    # Network file systems may tell only now that they could not write; what was noted as written is then not.
    failed = core.close_outputs()
    if failed is not None:
        number, code = failed
        raise RunFolderError(f"{files[number]}: was written, but not kept: {os.strerror(code)}")
