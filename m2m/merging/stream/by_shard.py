"""Run a plan shard by shard in workers, on this machine or on others that see the same files.

A shard of the outputs is a plan of its own, and is run and hashed as a whole merge is. The journal says up to
where all is written, as always: a merge can go on there with workers or without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from m2m.checkpoint.identity import InputFiles, sample
from m2m.checkpoint.remote.remote_file import RemoteFile
from m2m.checkpoint.remote.session import adopted, origin_of
from m2m.errors import CheckpointError
from m2m.executors.news import tell
from m2m.executors.protocol import Executor
from m2m.merging.plan.plan import MergePlan, bytes_before
from m2m.merging.stream.execute import Execution, execute
from m2m.merging.stream.memory import Staging
from m2m.merging.stream.output_files import lay_out
from m2m.merging.stream.work_folder import START, Position

_SAME_FILES = "all machines that work together must see the same files under the same paths"


@dataclass(frozen=True)
class ShardJob:
    """One shard of every output.

    Attributes:
        plan: What goes in it.
        folder: Where the outputs are made.
        staging: The worker's buffers.
        start: What is written already.
        allow_nonfinite: Whether NaN and infinities in the inputs may pass.
        samples: Hash of each input file's size, header and some blocks, by path; of those that are here.
        origins: The others: what lies elsewhere, by the places of its mirrors in the process that planned.
        cache_bytes: The worker's share of the disk for what lies elsewhere.
    """

    plan: MergePlan
    folder: Path
    staging: Staging
    start: Position
    allow_nonfinite: bool
    samples: Mapping[Path, str]
    origins: Mapping[Path, RemoteFile]
    cache_bytes: int

    def __str__(self) -> str:
        return self.plan.outputs[0].layout.shards[0].name


def execute_by_shard(
    plan: MergePlan,
    folder: Path,
    staging: Staging,
    start: Position,
    *,
    executor: Executor,
    inputs: InputFiles,
    allow_nonfinite: bool,
    cache_bytes: int,
    note: Callable[[Position], None],
    progress: Callable[[int, int, str], None] | None,
) -> Execution:
    """Fill the outputs in `folder` by workers; everything before `start` has been written already."""
    # `staging` and `cache_bytes` are a worker's, otherwise as `execute`, whose errors it raises too.
    lay_out(plan, folder)  # there is room for all of it, or nobody begins
    firsts = plan.shard_starts
    jobs = []
    for number, first in enumerate(firsts):
        part = plan.shard(number)
        origins = {file: origin for file in part.input_files if (origin := origin_of(file)) is not None}
        samples = {file: inputs.samples[file] for file in part.input_files if file not in origins}
        begun = _within(start, first, len(part.tensors))
        jobs.append(ShardJob(part, folder, staging, begun, allow_nonfinite, samples, origins, cache_bytes))
    course = _Course([bytes_before(job.plan, job.start) for job in jobs], plan.nbytes, progress)
    done: dict[int, Execution] = {}
    course.say()
    for number, found in executor.run(merge_shard, jobs, told=course.told):
        done[number] = found
        course.told(number, jobs[number].plan.nbytes)
        unfinished = next((at for at in range(len(jobs)) if at not in done), None)
        note(max(start, (len(plan.tensors) if unfinished is None else firsts[unfinished], 0)))
    return _together([done[number] for number in range(len(jobs))])


def merge_shard(job: ShardJob) -> Execution:
    """Run a shard's plan in this process; tells tensor bytes that are written."""
    _check_inputs(job.samples)
    with adopted(job.origins) as places:  # mirrors of its own: workers give bytes back that others still need
        return execute(
            job.plan.moved(places),
            job.folder,
            job.staging,
            job.start,
            allow_nonfinite=job.allow_nonfinite,
            note=lambda position: None,
            progress=lambda done, total, what: tell(done),
            cache_bytes=job.cache_bytes,
        )


@dataclass
class _Course:
    """How far all shards are together, in tensor bytes."""

    #: What is written of each.
    written: list[int]
    total: int
    progress: Callable[[int, int, str], None] | None
    #: What was written of all when it was last said: a worker that takes a lost one's place begins anew.
    most: int = field(default=0)

    def told(self, number: int, written: int) -> None:
        self.written[number] = written
        self.say()

    def say(self) -> None:
        self.most = max(self.most, sum(self.written))
        if self.progress is not None:
            self.progress(self.most, self.total, "merge")


def _within(start: Position, first: int, length: int) -> Position:
    """Say what of the shard whose first tensor and length are given is written before `start`."""
    tensor, element = start
    if tensor < first:
        return START
    return (tensor - first, element) if tensor < first + length else (length, 0)


def _check_inputs(samples: Mapping[Path, str]) -> None:
    for file, known in samples.items():
        try:
            found = sample(file)
        except OSError as error:
            raise CheckpointError(
                f"{file}: {error.strerror} on {os.uname().nodename}; {_SAME_FILES}"
            ) from error
        if found != known:
            raise CheckpointError(
                f"{file}: is another file on {os.uname().nodename} than where the merge was begun, or was "
                f"changed since; {_SAME_FILES}"
            )


def _together(parts: list[Execution]) -> Execution:
    peaks = [part.peak_anon_bytes for part in parts if part.peak_anon_bytes is not None]
    return replace(
        parts[0],
        read_bytes=sum(part.read_bytes for part in parts),
        written_bytes=sum(part.written_bytes for part in parts),
        peak_anon_bytes=max(peaks, default=None),
        hashes={name: digest for part in parts for name, digest in part.hashes.items()},
        fetched_bytes=sum(part.fetched_bytes for part in parts),
        peak_cache_bytes=max(part.peak_cache_bytes for part in parts),
    )
