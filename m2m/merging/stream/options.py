"""How a merge is run: its options, and the buffers, device, cache and shards that they give."""

from __future__ import annotations

from dataclasses import dataclass, replace

from m2m.checkpoint.identity import InputFiles
from m2m.checkpoint.remote.mirror import CACHE_SIZE, THREADS
from m2m.errors import ConfigError
from m2m.executors.protocol import Executor
from m2m.merging.compiled import MergeDevice, merge_device
from m2m.merging.methods.spec import Method
from m2m.merging.methods.weighted import WeightedSum
from m2m.merging.plan.plan import MergePlan
from m2m.merging.stream.by_shard import Shard, shards_of
from m2m.merging.stream.memory import Staging, plan_staging
from m2m.merging.stream.supply import request_bytes, require_room
from m2m.merging.stream.work_folder import Position
from m2m.support.arguments import argument
from m2m.support.devices import cuda_number
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


def _cuda_number(name: str, method: Method) -> int | None:
    number = cuda_number(name)
    if number is not None and not isinstance(method, WeightedSum):
        raise ConfigError(
            f"device {name!r}: merge_method {method.name} is computed on the CPU only; leave the device out"
        )
    return number
