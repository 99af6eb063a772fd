"""What task vectors look like, tensor by tensor, in one read of the checkpoints and without writing any."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.remote.mirror import CACHE_SIZE
from m2m.errors import CheckpointError
from m2m.merging.compiled import GramPass, RiderPass, compile_plan
from m2m.merging.methods.gram import Points, look_at_products, unpack_triangle
from m2m.merging.methods.linear import LINEAR
from m2m.merging.plan.plan import MergePlan, build_plan
from m2m.merging.plan.resolve import from_weights
from m2m.merging.plan.tensors import PlannedTensor
from m2m.merging.plan.window import Window
from m2m.merging.stream.memory import collector_paused, plan_staging
from m2m.merging.stream.passes import PassRun, windows
from m2m.merging.stream.supply import supplied
from m2m.support.progress import Progress
from m2m.support.units import parse_bytes

_BASE = 0


@dataclass(frozen=True)
class TensorLook:
    """What one tensor's task vectors τ_n = fl(θ_n − θ₀) look like. Sums are float64, in the engine's order.

    Attributes:
        name: The tensor's name.
        elements: P.
        base_dtype: Type in which the base model stores it, as safetensors names it.
        expert_dtypes: Types in which the experts store it. [N]
        gram: ⟨τ_i, τ_j⟩. [N, N]
        squares: Σ_p τ_i[p]² τ_j[p]². [N, N]
        largest: max |τ_n|. [N]
        same_sign: Elements where both are positive or both negative; on the diagonal, those not zero. [N, N]
        opposite_sign: Elements where one is positive and the other negative. [N, N]
        base_square: ‖θ₀‖².
        ulp_square: Σ_p ulp(θ₀[p])²: how far each stored value lies from the next number of its type, squared.
        ulp_fourth: Σ_p ulp(θ₀[p])⁴.
    """

    name: str
    elements: int
    base_dtype: str
    expert_dtypes: tuple[str, ...]
    gram: list[list[float]]
    squares: list[list[float]]
    largest: list[float]
    same_sign: list[list[int]]
    opposite_sign: list[list[int]]
    base_square: float
    ulp_square: float
    ulp_fourth: float


def look_at_task_vectors(
    base: Checkpoint,
    experts: Sequence[Checkpoint],
    *,
    memory: str | int = "256MiB",
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[TensorLook]:
    """Read the checkpoints once, streaming, and gather what their task vectors look like.

    Args:
        base: The base model.
        experts: The experts; they must hold the base model's tensors. [N]
        memory: Most memory that this may add to what the process holds.
        threads: Workers; as many as there are usable cores when not given.
        progress: Is told bytes looked at, bytes in all and what is going on.

    Returns:
        A look a tensor of floats, in the base model's order; tensors of other types have no task vectors.

    Raises:
        CheckpointError: If there are no experts, an expert's tensors are not the base model's, or something
            is malformed, changes, or is not finite.
    """
    if not experts:
        raise CheckpointError("task vectors need at least one expert")
    models = [base, *experts]
    with collector_paused():
        plan = build_plan(models, from_weights(models, [[1.0, *(0.0 for _ in experts)]]), {"": {}}, LINEAR)
    looks: list[TensorLook] = []
    look_through(plan, lambda window, run: looks.extend(_look(window, run)), memory, threads, progress)
    for model in models:
        model.check_unchanged()
    order = {name: number for number, name in enumerate(base.names)}
    return sorted(looks, key=lambda look: order[look.name])


def look_through(
    plan: MergePlan,
    look: Callable[[Window, PassRun], None],
    memory: str | int,
    threads: int | None,
    progress: Progress | None,
) -> None:
    """Go through a plan's inputs, window by window, with passes that `look` runs and that write nothing."""
    staging = plan_staging(parse_bytes(memory), threads, plan.input_slots, 1)
    core = compile_plan(
        plan.numbers, len(plan.outputs), [Path(shard.name) for shard in plan.outputs[0].layout.shards]
    )
    run = PassRun(plan, core, staging, (0, 0), lambda position: None, None)
    done = 0
    try:
        with supplied(plan, parse_bytes(CACHE_SIZE), run.report) as supply:
            keepers = [] if supply is None else [supply]
            for window in windows(plan, core, (0, 0), staging, False, single=False, keepers=keepers):
                look(window, run)
                done += sum(tensor.entry.nbytes for tensor in window.tensors)
                if progress is not None:
                    progress(done, plan.nbytes, "look")
    except BaseException:
        run.stop()
        raise


def _look(window: Window, run: PassRun) -> list[TensorLook]:
    vectors = [Points.whole(tensor, _BASE, 1, len(tensor.sources) - 1) for tensor in window.tensors]
    itself = [Points.whole(tensor, -1, _BASE, 1) for tensor in window.tensors]
    products = look_at_products(window, vectors, counts_signs=True, squares=True)
    sizes = look_at_products(window, itself)
    ulps = look_at_products(window, itself, squares=True, ulps=True)
    run(RiderPass(window.core, products, RiderPass(window.core, sizes, ulps)), window)
    return [_tensor_look(number, tensor, products, sizes, ulps) for number, tensor in window.merged()]


def _tensor_look(
    number: int, tensor: PlannedTensor, products: GramPass, sizes: GramPass, ulps: GramPass
) -> TensorLook:
    largest, same, opposite = products.signs(number)
    return TensorLook(
        name=tensor.entry.name,
        elements=math.prod(tensor.entry.shape),
        base_dtype=tensor.sources[_BASE].dtype,
        expert_dtypes=tuple(source.dtype for source in tensor.sources[1:]),
        gram=unpack_triangle(products.triangles(number)),
        squares=unpack_triangle(products.square_triangles(number)),
        largest=largest,
        same_sign=unpack_triangle(same),
        opposite_sign=unpack_triangle(opposite),
        base_square=sizes.triangles(number)[0],
        ulp_square=ulps.triangles(number)[0],
        ulp_fourth=ulps.square_triangles(number)[0],
    )
