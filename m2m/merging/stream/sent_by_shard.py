"""Run a plan whose outputs lie elsewhere in workers: each puts a shard together where it is, and sends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from m2m.checkpoint.remote.mirror import scratch_folder
from m2m.executors.protocol import Executor
from m2m.merging.stream.by_shard import Shard, run_jobs
from m2m.merging.stream.destination_journal import Claim, Journal, place
from m2m.merging.stream.execute import Execution
from m2m.merging.stream.output_files import output_files
from m2m.merging.stream.upload import room_told
from m2m.support.progress import Progress


@dataclass(frozen=True)
class SendJob:
    """A shard, and where it is sent."""

    shard: Shard
    claim: Claim

    def __str__(self) -> str:
        return str(self.shard)

    @property
    def files(self) -> list[tuple[str, str]]:
        """Its file in each output: the output's name and its own [M]."""
        return [(output.name, output.layout.shards[0].name) for output in self.shard.plan.outputs]


def send_by_shard(
    shards: Sequence[Shard], journal: Journal, *, executor: Executor, progress: Progress | None
) -> Execution:
    """Have workers merge and send what the journal does not know to be there.

    Args:
        shards: All that the outputs consist of, none of them begun.
        journal: Of the destination; is told what is there.
        executor: Where the workers are.
        progress: Is told bytes done, bytes in all and what is going on.

    Returns:
        What the workers did, with the hashes of what was there before.

    Raises:
        M2MError: What merging raises, or a destination that another merge has taken.
        OSError: If a shard cannot be sent.
    """  # noqa: DOC502 - raised by what is called
    known = dict(journal.done)
    jobs = {number: SendJob(shard, journal.claim) for number, shard in enumerate(shards)}
    left = {
        number: job for number, job in jobs.items() if not all(place(*file) in known for file in job.files)
    }

    def finished(number: int, found: Execution) -> None:
        for file, digest in found.hashes.items():
            journal.add(place(*file), digest)

    done = run_jobs(merge_and_send, left, shards, executor=executor, finished=finished, progress=progress)
    before = [file for number, job in jobs.items() if number not in left for file in job.files]
    return replace(done, hashes=done.hashes | {file: known[place(*file)] for file in before})


def merge_and_send(job: SendJob) -> Execution:
    """Write a shard to this machine's cache, and send it."""
    with scratch_folder() as folder:
        with room_told():
            done = job.shard.merge_into(folder)
        paths = output_files(job.shard.plan, folder)
        for path, file in zip(paths, job.files, strict=True):
            job.claim.require()
            job.claim.destination.put(path, place(*file))
        return replace(done, sent_bytes=sum(path.stat().st_size for path in paths))
