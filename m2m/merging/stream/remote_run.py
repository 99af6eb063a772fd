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
from m2m.merging.plan.plan import MergePlan
from m2m.merging.stream.execute import Execution, execute
from m2m.merging.stream.passes import GO_ON, InterruptedMergeError
from m2m.merging.stream.run import (
    Finish,
    MergeOptions,
    MergeReport,
    complete,
    make_report,
    prepare_workers,
)
from m2m.merging.stream.upload import THREADS, Journal, ShardUpload, place
from m2m.support.arguments import argument
from m2m.support.units import format_bytes, parse_bytes


def run_plan_elsewhere(
    plan: MergePlan, destination: Destination, options: MergeOptions, finish: Finish, started: float
) -> MergeReport:
    """Execute a plan, and send what it writes; as `run_plan`, whose errors it raises too."""
    staging, device = prepare_workers(plan, options)
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
            done = execute(
                plan,
                work,
                staging,
                upload.began,
                allow_nonfinite=options.allow_nonfinite,
                note=lambda position: None,
                progress=options.progress,
                device=device,
                cache_bytes=_left(options.cache_size, upload.room),
                upload=upload,
            )
            for output in plan.outputs:
                complete(plan, output, work, done.hashes, finish, key)
            inputs.check_unchanged()
            for output in plan.outputs:
                upload.publish(output.name, work / output.name)
            journal.finish()
    if options.verify:
        _verify(destination, done.hashes)
    return make_report(plan, destination.url, done, upload.began, staging, started, upload.sent_bytes)


def _manifests(plan: MergePlan, destination: Destination) -> list[Mapping[str, Any]]:
    found = [destination.read(place(output.name, MANIFEST_NAME)) for output in plan.outputs]
    try:
        return [json.loads(text or b"{}") for text in found]
    except ValueError:
        return []


def _left(cache_size: str | int, taken: int) -> int:
    # What the shards that are put together and sent leave of the cache for inputs.
    left = parse_bytes(cache_size) - taken
    if left < 1:
        raise ConfigError(
            f"{argument('cache_size', cache_size)} is too small: shards that are put together and sent take "
            f"{format_bytes(taken)} of it, and inputs that lie elsewhere need the rest; wanted more, or a "
            f"smaller {argument('shard_size', '…')}"
        )
    return left


@contextmanager
def _tidied(upload: ShardUpload, inputs: InputFiles, destination: Destination) -> Iterator[None]:
    # What was sent stays where going on later can help, and only there.
    try:
        yield
    except (CheckpointError, RecipeError, ConfigError):
        upload.discard()
        inputs.check_unchanged()  # if it is that, it is the reason of whatever else was found
        raise
    except OSError as error:
        where = error.filename or destination.url
        raise InterruptedMergeError(f"{where}: {error.strerror or error}; {GO_ON}") from error


def _verify(destination: Destination, hashes: Mapping[tuple[str, str], str]) -> None:
    with telling():
        for (output, name), digest in hashes.items():
            if destination.hash(place(output, name)) != digest:
                raise RunFolderError(f"{destination.url}/{place(output, name)}: is not what was sent")
