"""Execute a plan whose outputs lie elsewhere: shards are sent as they are finished, the manifest last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from m2m.checkpoint.folder import MANIFEST_NAME
from m2m.checkpoint.identity import InputFiles
from m2m.checkpoint.remote.crew import Crew
from m2m.checkpoint.remote.destination import Destination
from m2m.checkpoint.remote.mirror import scratch_folder, telling
from m2m.errors import CheckpointError, ConfigError, RecipeError, RunFolderError
from m2m.executors.protocol import Executor, WorkerError
from m2m.merging.plan.plan import MergePlan
from m2m.merging.stream.execute import Execution, execute
from m2m.merging.stream.passes import GO_ON, InterruptedMergeError
from m2m.merging.stream.run import (
    Finish,
    MergeOptions,
    MergeReport,
    complete,
    cut_into_shards,
    left_of_cache,
    make_report,
    prepare_workers,
)
from m2m.merging.stream.sent_by_shard import room_of, send_by_shard
from m2m.merging.stream.upload import THREADS, Journal, ShardUpload, place
from m2m.merging.stream.work_folder import START
from m2m.support.units import parse_bytes


def run_plan_elsewhere(
    plan: MergePlan,
    destination: Destination,
    options: MergeOptions,
    finish: Finish,
    started: float,
    executor: Executor | None = None,
) -> MergeReport:
    """Execute a plan, and send what it writes; as `run_plan`, whose errors it raises too."""
    if len(plan.shard_starts) == 1:
        executor = None  # there is nothing to share out, and what is one file is sent at the very end
    staging, device = prepare_workers(plan, options, executor)
    inputs = InputFiles(plan.opened)
    key = f"{plan.key}-{inputs.key}"
    journal = Journal(destination, plan, key)
    with telling():
        known = _manifests(plan, destination) if options.resume else []
        if known and all(manifest.get("plan") == key for manifest in known):
            journal.finish()
            done = Execution(0, 0, None, {})
            return make_report(plan, destination.url, done, (len(plan.tensors), 0), staging, started)
        journal.begin(resume=options.resume)
    with scratch_folder() as work, Crew(THREADS) as crew:
        upload = ShardUpload(plan, work, journal, crew)
        with _tidied(upload, inputs, destination):
            if executor is None:
                done = execute(
                    plan,
                    work,
                    staging,
                    upload.began,
                    allow_nonfinite=options.allow_nonfinite,
                    note=lambda position: None,
                    progress=options.progress,
                    device=device,
                    cache_bytes=left_of_cache(options, parse_bytes(options.cache_size), upload.room),
                    upload=upload,
                )
            else:
                shards = cut_into_shards(plan, options, executor, staging, START, inputs, room_of(plan))
                done = send_by_shard(shards, journal, executor=executor, progress=options.progress)
            for output in plan.outputs:
                complete(plan, output, work, done.hashes, finish, key)
            inputs.check_unchanged()
            for output in plan.outputs:
                upload.publish(output.name, work / output.name)
            journal.finish()
    if options.verify:
        _verify(destination, done.hashes)
    sent = upload.sent_bytes + done.sent_bytes
    return make_report(plan, destination.url, done, upload.began, staging, started, sent)


def _manifests(plan: MergePlan, destination: Destination) -> list[Mapping[str, Any]]:
    found = [destination.read(place(output.name, MANIFEST_NAME)) for output in plan.outputs]
    try:
        return [json.loads(text or b"{}") for text in found]
    except ValueError:
        return []


@contextmanager
def _tidied(upload: ShardUpload, inputs: InputFiles, destination: Destination) -> Iterator[None]:
    # What was sent stays where going on later can help, and only there.
    try:
        yield
    except (CheckpointError, RecipeError, ConfigError):
        upload.discard()
        inputs.check_unchanged()  # if it is that, it is the reason of whatever else was found
        raise
    except WorkerError as error:
        raise type(error)(f"{error}; {GO_ON}") from error
    except OSError as error:
        where = error.filename or destination.url
        raise InterruptedMergeError(f"{where}: {error.strerror or error}; {GO_ON}") from error


def _verify(destination: Destination, hashes: Mapping[tuple[str, str], str]) -> None:
    with telling():
        for (output, name), digest in hashes.items():
            if destination.hash(place(output, name)) != digest:
                raise RunFolderError(f"{destination.url}/{place(output, name)}: is not what was sent")
