"""Run a plan shard by shard in workers, on this machine or on others that see the same files.

A shard of the outputs is a plan of its own, and is run and hashed as a whole merge is. The journal says up to
where all is written, as always: a merge can go on there with workers or without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m2m.checkpoint.identity import InputFiles, sample
from m2m.checkpoint.remote.mirror import clear_scratch
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
from m2m.support.progress import Progress

_SAME_FILES = "all machines that work together must see the same files under the same paths"


@dataclass(frozen=True)
class Shard:
    """One shard of every output, for a worker.

    Attributes:
        plan: What goes in it.
        staging: The worker's buffers.
        start: What is written already.
        allow_nonfinite: Whether NaN and infinities in the inputs may pass.
        samples: Hash of each input file's size, header and some blocks, by path; of those that are here.
        origins: The others: what lies elsewhere, by the places of its mirrors in the process that planned.
        cache_bytes: The worker's share of the disk for what lies elsewhere.
        requests: As many are under way at a time.
    """

    plan: MergePlan
    staging: Staging
    start: Position
    allow_nonfinite: bool
    samples: Mapping[Path, str]
    origins: Mapping[Path, RemoteFile]
    cache_bytes: int
    requests: int

    def __str__(self) -> str:
        return self.plan.outputs[0].layout.shards[0].name

    def merge_into(self, folder: Path) -> Execution:
        """Write it in this process, into the folder of the outputs; tells tensor bytes that are written."""
        _check_inputs(self.samples)
        with adopted(self.origins) as places:  # its own: workers give bytes back that others still need
            return execute(
                self.plan.moved(places),
                folder,
                self.staging,
                self.start,
                allow_nonfinite=self.allow_nonfinite,
                note=lambda position: None,
                progress=lambda done, total, what: tell(done),
                cache_bytes=self.cache_bytes,
                requests=self.requests,
            )


def shards_of(
    plan: MergePlan,
    staging: Staging,
    start: Position,
    inputs: InputFiles,
    *,
    allow_nonfinite: bool,
    cache_bytes: int,
    requests: int,
) -> list[Shard]:
    """Cut a plan into shards; buffers, cache and requests are those of a worker."""
    shards = []
    for number, first in enumerate(plan.shard_starts):
        part = plan.shard(number)
        origins = {file: origin for file in part.input_files if (origin := origin_of(file)) is not None}
        samples = {file: inputs.samples[file] for file in part.input_files if file not in origins}
        begun = _within(start, first, len(part.tensors))
        shards.append(Shard(part, staging, begun, allow_nonfinite, samples, origins, cache_bytes, requests))
    return shards


@dataclass(frozen=True)
class ShardJob:
    """A shard, and the folder that every worker sees in which the outputs are made."""

    shard: Shard
    folder: Path

    def __str__(self) -> str:
        return str(self.shard)


def execute_by_shard(
    plan: MergePlan,
    folder: Path,
    shards: Sequence[Shard],
    start: Position,
    *,
    executor: Executor,
    note: Callable[[Position], None],
    progress: Progress | None,
) -> Execution:
    """Fill the outputs in `folder` by workers; everything before `start` has been written already."""
    # `shards` are those of `shards_of`; otherwise as `execute`, whose errors it raises too.
    lay_out(plan, folder)  # there is room for all of it, or nobody begins
    firsts, left = plan.shard_starts, set(range(len(shards)))

    def finished(number: int, found: Execution) -> None:
        left.remove(number)
        note(max(start, (firsts[min(left)] if left else len(plan.tensors), 0)))

    jobs = {number: ShardJob(shard, folder) for number, shard in enumerate(shards)}
    return run_jobs(merge_shard, jobs, shards, executor=executor, finished=finished, progress=progress)


def merge_shard(job: ShardJob) -> Execution:
    """Write a shard where it belongs."""
    return job.shard.merge_into(job.folder)


def run_jobs(
    function: Callable[[Any], Execution],
    jobs: Mapping[int, Any],
    shards: Sequence[Shard],
    *,
    executor: Executor,
    finished: Callable[[int, Execution], None],
    progress: Progress | None,
) -> Execution:
    """Have workers do a job for each shard that is not there yet, whose numbers are the jobs' keys."""
    numbers = list(jobs)
    course = _Course(
        [
            bytes_before(shard.plan, shard.start) if number in jobs else shard.plan.nbytes
            for number, shard in enumerate(shards)
        ],
        sum(shard.plan.nbytes for shard in shards),
        progress,
    )
    course.say()
    done: dict[int, Execution] = {}
    run = executor.run(function, list(jobs.values()), told=lambda at, news: course.told(numbers[at], news))
    try:
        with closing(run):  # no worker is left that writes when an error is dealt with
            for at, found in run:
                number = numbers[at]
                done[number] = found
                course.told(number, shards[number].plan.nbytes)
                finished(number, found)
    except BaseException:
        clear_scratch()  # workers that were ended could not
        raise
    return _together([done[number] for number in numbers])


@dataclass
class _Course:
    """How far all shards are together, in tensor bytes."""

    #: What is written of each.
    written: list[int]
    total: int
    progress: Progress | None
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
    return Execution(
        read_bytes=sum(part.read_bytes for part in parts),
        written_bytes=sum(part.written_bytes for part in parts),
        peak_anon_bytes=max(peaks, default=None),
        hashes={name: digest for part in parts for name, digest in part.hashes.items()},
        fetched_bytes=sum(part.fetched_bytes for part in parts),
        peak_cache_bytes=max((part.peak_cache_bytes for part in parts), default=0),
        sent_bytes=sum(part.sent_bytes for part in parts),
    )
