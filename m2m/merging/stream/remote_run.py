"""Execute a plan whose outputs lie elsewhere: shards are sent as they are finished, the manifest last."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from m2m.checkpoint.folder import MANIFEST_NAME
from m2m.checkpoint.identity import InputFiles
from m2m.checkpoint.remote.crew import Crew
from m2m.checkpoint.remote.destination import Destination
from m2m.checkpoint.remote.mirror import scratch_folder, telling
from m2m.errors import CheckpointError, ConfigError, RecipeError, RunFolderError
from m2m.executors.local import Local
from m2m.executors.protocol import Executor, WorkerError
from m2m.merging.plan.plan import MergePlan
from m2m.merging.stream.destination_journal import Journal, place
from m2m.merging.stream.execute import Execution, execute
from m2m.merging.stream.memory import Staging
from m2m.merging.stream.options import MergeOptions, cache_of, cut_into_shards, prepare_workers
from m2m.merging.stream.passes import GO_ON, InterruptedMergeError
from m2m.merging.stream.report import MergeReport, make_report
from m2m.merging.stream.run import Finish, complete, require_inputs
from m2m.merging.stream.sent_by_shard import send_by_shard
from m2m.merging.stream.upload import THREADS, ShardUpload, shard_bytes
from m2m.merging.stream.work_folder import START

_log = logging.getLogger(__name__)


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
    # One process writes a shard while it sends the one before.
    at_a_time = 2 if executor is None and len(plan.shard_starts) > 1 else 1
    cache_bytes = cache_of(plan, options, executor, at_a_time * shard_bytes(plan))
    inputs = InputFiles(plan.opened)
    key = f"{plan.key}-{inputs.key}"
    journal = Journal(destination, plan, key)
    with telling():
        known = _manifests(plan, destination) if options.resume else []
        if known and all(manifest.get("plan") == key for manifest in known):
            journal.finish()
            return _found_whole(plan, destination, options, known, staging, started)
        journal.begin(resume=options.resume)
    with scratch_folder() as work, Crew(THREADS) as crew:
        upload = ShardUpload(plan, work, journal, crew)
        if executor is None and device is None and upload.has_gap:
            executor = Local(1)  # this process, a shard at a time
        with _tidied(upload, inputs, destination, resumed=options.resume):
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
                    cache_bytes=cache_bytes,
                    upload=upload,
                )
            else:
                shards = cut_into_shards(plan, options, executor, staging, START, inputs, cache_bytes)
                done = send_by_shard(shards, journal, executor=executor, progress=options.progress)
            for output in plan.outputs:
                complete(plan, output, work, done.hashes, finish, key)
            inputs.check_unchanged()
            upload.require_whole()
            for output in plan.outputs:
                upload.publish(output.name, work / output.name)
            journal.finish()
    if options.verify:
        _verify(destination, done.hashes)
    sent = upload.sent_bytes + done.sent_bytes
    return make_report(plan, destination.url, done, upload.resumed_bytes, staging, started, sent)


def _found_whole(
    plan: MergePlan,
    destination: Destination,
    options: MergeOptions,
    manifests: Sequence[Mapping[str, Any]],
    staging: Staging,
    started: float,
) -> MergeReport:
    hashes = {
        (output.name, shard.name): manifest.get("files", {}).get(shard.name, {}).get("sha256", "")
        for output, manifest in zip(plan.outputs, manifests, strict=True)
        for shard in output.layout.shards
    }
    if options.verify:
        _verify(destination, hashes)
    done = Execution(0, 0, None, hashes)
    return make_report(plan, destination.url, done, plan.nbytes, staging, started)


def _manifests(plan: MergePlan, destination: Destination) -> list[Mapping[str, Any]]:
    found = [destination.read(place(output.name, MANIFEST_NAME)) for output in plan.outputs]
    try:
        return [json.loads(text or b"{}") for text in found]
    except ValueError:
        return []


@contextmanager
def _tidied(
    upload: ShardUpload, inputs: InputFiles, destination: Destination, *, resumed: bool
) -> Iterator[None]:
    # What was sent stays where going on later can help, and only there.
    try:
        yield
    except ConfigError:
        if not resumed:  # else other options may go on with it
            _discard(upload)
        raise
    except (CheckpointError, RecipeError):
        _discard(upload)
        inputs.check_unchanged()  # if it is that, it is the reason of whatever else was found
        raise
    except WorkerError as error:
        raise type(error)(f"{error}; {GO_ON}") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            require_inputs(inputs, partial(_discard, upload))
        where = error.filename or destination.url
        raise InterruptedMergeError(f"{where}: {error.strerror or error}; {GO_ON}") from error


def _discard(upload: ShardUpload) -> None:
    # That something cannot be removed must not hide why it should be.
    try:
        upload.discard()
    except OSError as error:
        _log.warning("%s: what was sent cannot be removed: %s", error.filename, error.strerror or error)


def _verify(destination: Destination, hashes: Mapping[tuple[str, str], str]) -> None:
    with telling():
        for (output, name), digest in hashes.items():
            if destination.hash(place(output, name)) != digest:
                raise RunFolderError(f"{destination.url}/{place(output, name)}: is not what was sent")
