"""Execute a plan in a folder of its own, resumably, and put the complete result in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from m2m.checkpoint.folder import check_free
from m2m.checkpoint.identity import InputFiles
from m2m.checkpoint.manifest import read_manifest, write_manifest
from m2m.checkpoint.manifest import verify as check_hashes
from m2m.checkpoint.remote.mirror import CACHE_SIZE, THREADS
from m2m.checkpoint.remote.session import written
from m2m.checkpoint.writer import write_index
from m2m.errors import CheckpointError, ConfigError, RecipeError, RunFolderError
from m2m.executors.protocol import Executor, WorkerError
from m2m.merging.compiled import MergeDevice, merge_device
from m2m.merging.methods.spec import Method
from m2m.merging.methods.weighted import WeightedSum
from m2m.merging.plan.plan import MergePlan, PlannedCheckpoint, bytes_before
from m2m.merging.stream.by_shard import Shard, execute_by_shard, shards_of
from m2m.merging.stream.execute import Execution, execute
from m2m.merging.stream.memory import Staging, plan_staging
from m2m.merging.stream.output_files import require_written
from m2m.merging.stream.passes import GO_ON, InterruptedMergeError
from m2m.merging.stream.statistics import NAME as STATISTICS_NAME
from m2m.merging.stream.statistics import StatisticsGatherer, StatisticsOf, require_statistics
from m2m.merging.stream.supply import request_bytes, require_room
from m2m.merging.stream.work_folder import Position, WorkFolder, open_work_folder
from m2m.support.arguments import argument
from m2m.support.devices import cuda_number
from m2m.support.process_memory import peak_resident_bytes
from m2m.support.progress import Progress
from m2m.support.units import format_bytes, parse_bytes

#: Staging memory of one input or output, a worker, on the way to a device: long enough that starting copies
#: and kernels does not count. A guess: no GPU was at hand to measure on.
_CUDA_SLOT_BYTES = 2 * 2**20


@dataclass(frozen=True)
class MergeOptions:
    """How a merge is run; nothing here changes a byte of what is written.

    Attributes:
        memory: Most memory that merging may add to what the process holds, in bytes or as in `256MiB`.
        threads: Workers; as many as there are usable cores when not given.
        resume: Whether to go on with what an interrupted run of the same merge left.
        verify: Whether to read the result again and check its hashes.
        durable: Whether the result is forced to the disk before it appears, so that it survives a power cut.
            It survives the death of the process either way; the disk, not the merge, then sets the pace.
        allow_nonfinite: Whether NaN and infinities in the inputs may pass into the outputs.
        progress: Is told bytes done, bytes in all and what is going on; may raise to stop the merge.
        device: Where weighted sums are computed: `cpu`, `cuda`, or `cuda:1` and so on.
        cache_size: Most tensor bytes of what lies elsewhere that are on this machine's disk at a time.
    """

    memory: str | int = "256MiB"
    threads: int | None = None
    resume: bool = False
    verify: bool = False
    durable: bool = False
    allow_nonfinite: bool = False
    progress: Progress | None = None
    device: str = "cpu"
    cache_size: str | int = CACHE_SIZE


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


def prepare_workers(
    plan: MergePlan, options: MergeOptions, executor: Executor | None
) -> tuple[Staging, MergeDevice | None]:
    """Choose the buffers of this process or of each worker, and take hold of the device that computes."""
    requests = request_bytes(plan, _requests(plan, executor))
    if executor is None:
        return _prepared(plan, options, requests)
    beside = _beside(plan, executor)
    share = parse_bytes(options.memory) // beside
    try:
        return _prepared(plan, replace(options, memory=share, threads=options.threads or 1), requests)
    except ConfigError as error:
        raise ConfigError(
            f"{argument('memory', options.memory)} is shared by {beside} workers of a machine: {error}"
        ) from error


def cache_of(plan: MergePlan, options: MergeOptions, executor: Executor | None, taken: int = 0) -> int:
    """Say how much disk this process or each worker has for inputs that lie elsewhere, beside `taken`."""
    room = parse_bytes(options.cache_size) // _beside(plan, executor)
    if taken and room <= taken:
        raise ConfigError(
            f"{argument('cache_size', options.cache_size)} is too small: shards that are put together and "
            f"sent take {format_bytes(taken)} of {format_bytes(room)}, and inputs that lie elsewhere need "
            f"the rest; wanted more, or a smaller {argument('shard_size', '…')}"
        )
    require_room(plan, room - taken)
    return room - taken


def cut_into_shards(
    plan: MergePlan,
    options: MergeOptions,
    executor: Executor,
    staging: Staging,
    start: Position,
    inputs: InputFiles,
    cache_bytes: int,
) -> list[Shard]:
    """Cut a plan into shards for workers of these buffers and so much cache."""
    return shards_of(
        plan,
        staging,
        start,
        inputs,
        allow_nonfinite=options.allow_nonfinite,
        cache_bytes=cache_bytes,
        requests=_requests(plan, executor),
    )


def _beside(plan: MergePlan, executor: Executor | None) -> int:
    return 1 if executor is None else executor.beside(len(plan.shard_starts))


def _requests(plan: MergePlan, executor: Executor | None) -> int:
    # Workers of a machine share its requests, and the memory that these take.
    return max(1, THREADS // _beside(plan, executor))


def _prepared(plan: MergePlan, options: MergeOptions, requests: int) -> tuple[Staging, MergeDevice | None]:
    number = _cuda_number(options.device, plan.method)
    staging = plan_staging(
        parse_bytes(options.memory),
        options.threads,
        plan.input_slots,
        len(plan.outputs),
        plan.factor_bytes + plan.gathered_bytes + requests,
        plan.row_bytes,
        None if number is None else _CUDA_SLOT_BYTES,
        plan.scratch_bytes,
    )
    return staging, merge_device(number, staging.threads)


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


def _cuda_number(name: str, method: Method) -> int | None:
    number = cuda_number(name)
    if number is not None and not isinstance(method, WeightedSum):
        raise ConfigError(
            f"device {name!r}: merge_method {method.name} is computed on the CPU only; leave the device out"
        )
    return number


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
