"""Execute a plan in a folder of its own, resumably, and put the complete result in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from m2m.checkpoint.folder import check_free
from m2m.checkpoint.identity import InputFiles
from m2m.checkpoint.manifest import read_manifest, write_manifest
from m2m.checkpoint.manifest import verify as check_hashes
from m2m.checkpoint.remote.session import written
from m2m.checkpoint.writer import write_index
from m2m.errors import CheckpointError, ConfigError, RecipeError, RunFolderError
from m2m.executors.protocol import Executor, WorkerError
from m2m.merging.compiled import MergeDevice
from m2m.merging.plan.plan import MergePlan, PlannedCheckpoint, bytes_before
from m2m.merging.stream.by_shard import execute_by_shard
from m2m.merging.stream.execute import Execution, execute
from m2m.merging.stream.memory import Staging
from m2m.merging.stream.options import MergeOptions, cache_of, cut_into_shards, prepare_workers
from m2m.merging.stream.output_files import require_written
from m2m.merging.stream.passes import GO_ON, InterruptedMergeError
from m2m.merging.stream.report import MergeReport, make_report
from m2m.merging.stream.statistics import NAME as STATISTICS_NAME
from m2m.merging.stream.statistics import StatisticsGatherer, StatisticsOf, require_statistics
from m2m.merging.stream.work_folder import Position, WorkFolder, open_work_folder

#: Adds to a checkpoint folder what is not a weight: folder, name of the candidate, SHA-256 by weight file.
Finish = Callable[[Path, str, Mapping[str, str]], None]


def run_plan(
    plan: MergePlan,
    out: Path,
    options: MergeOptions,
    finish: Finish,
    started: float,
    about: StatisticsOf | None = None,
    executor: Executor | None = None,
) -> MergeReport:
    """Execute a plan in a folder of its own and put the complete result in place at `out`."""
    # `about` says whose statistics are gathered, if they are, and `executor` who takes a shard each instead
    # of this process; `started` is when the merge began, by `time.perf_counter`. CheckpointError if an input
    # changes, is not finite, or differs where it must not; InterruptedMergeError if the system fails;
    # RunFolderError if `out` exists or is being written, or has no room.
    staging, device = prepare_workers(plan, options, executor)
    cache_bytes = cache_of(plan, options, executor)
    inputs = InputFiles(plan.opened)
    key = f"{plan.key}-{inputs.key}"
    with open_work_folder(out.absolute()) as work:
        if options.resume and _is_complete(plan, out, key):
            done, start = Execution(0, 0, None, {}), (len(plan.tensors), 0)
            if about is not None:
                require_statistics(out)
            work.discard()
        else:
            gather = None if about is None else StatisticsGatherer(about, work.statistics)
            start = _begin(work, plan, inputs, options)
            with _tidied(work, inputs, resumed=options.resume):
                start = start if gather is None else gather.resume(start)
                if executor is None:
                    done = _execute(plan, work, staging, start, options, gather, device, cache_bytes)
                else:
                    done = execute_by_shard(
                        plan,
                        work.result,
                        cut_into_shards(plan, options, executor, staging, start, inputs, cache_bytes),
                        start,
                        executor=executor,
                        note=lambda position: work.note(plan.key, position),
                        progress=options.progress,
                    )
                if gather is not None:
                    gather.write(plan, work.result / STATISTICS_NAME)
                for output in plan.outputs:
                    complete(plan, output, work.result, done.hashes, finish, key)
                inputs.check_unchanged()
                work.finish(durable=options.durable)
    if options.verify:
        check_hashes(out)
    return make_report(plan, out, done, bytes_before(plan, start), staging, started)


def complete(
    plan: MergePlan,
    output: PlannedCheckpoint,
    result: Path,
    found: Mapping[tuple[str, str], str],
    finish: Finish,
    key: str,
) -> None:
    """Write beside an output's weights, of the hashes `found`, what makes it a checkpoint."""
    folder = result / output.name
    folder.mkdir(exist_ok=True)
    write_index(output.layout, folder)
    hashes = {file: digest for (name, file), digest in found.items() if name == output.name}
    finish(folder, output.name, hashes)
    sizes = {shard.name: shard.nbytes for shard in output.layout.shards}
    said = {"notes": plan.notes, "warnings": plan.doubts}
    said = {what: tuple(map(written, lines)) for what, lines in said.items() if lines}
    gone = {name: nbytes for name, nbytes in sizes.items() if not (folder / name).exists()}
    write_manifest(folder, hashes, gone, plan=key, **said)


def _begin(work: WorkFolder, plan: MergePlan, inputs: InputFiles, options: MergeOptions) -> Position:
    try:
        check_free(work.out)
        start = work.begin(plan.key, inputs, resume=options.resume)
        require_written(plan, work.result, start)
        return start
    except RunFolderError:
        work.forget_if_empty()
        raise


@contextmanager
def _tidied(work: WorkFolder, inputs: InputFiles, *, resumed: bool) -> Iterator[None]:
    # What is written stays where going on later can help, and only there.
    try:
        yield
    except CheckpointError:
        work.discard()
        inputs.check_unchanged()  # if it is that, it is the reason of whatever else was found
        raise
    except ConfigError:
        if not resumed:  # else other options may go on with it
            work.discard()
        raise
    except (RecipeError, RunFolderError):
        work.discard()
        raise
    except WorkerError as error:
        raise type(error)(f"{error}; {GO_ON}") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            require_inputs(inputs, work.discard)
        where = error.filename or work.out
        raise InterruptedMergeError(f"{where}: {error.strerror or error}; {GO_ON}") from error


def require_inputs(inputs: InputFiles, discard: Callable[[], None]) -> None:
    """Refuse to go on later where an input is no longer what it was; what was written is thrown away."""
    try:
        inputs.check_unchanged()
    except CheckpointError:
        discard()
        raise


def _execute(
    plan: MergePlan,
    work: WorkFolder,
    staging: Staging,
    start: Position,
    options: MergeOptions,
    gather: StatisticsGatherer | None,
    device: MergeDevice | None,
    cache_bytes: int,
) -> Execution:
    return execute(
        plan,
        work.result,
        staging,
        start,
        allow_nonfinite=options.allow_nonfinite,
        note=lambda position: work.note(plan.key, position),
        progress=options.progress,
        gather=gather,
        device=device,
        cache_bytes=cache_bytes,
    )


def _is_complete(plan: MergePlan, out: Path, key: str) -> bool:
    try:
        return all(read_manifest(out / output.name).get("plan") == key for output in plan.outputs)
    except CheckpointError:
        return False
