"""What a merge would do and take: every check that needs no weight, and a piece really merged and timed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from m2m.checkpoint.remote.address import remote_url
from m2m.checkpoint.remote.mirror import remote_cache
from m2m.checkpoint.remote.session import remote_session
from m2m.errors import RunFolderError
from m2m.merging.engine import free_place
from m2m.merging.plan.plan import MergePlan, build_plan
from m2m.merging.plan.resolve import Candidates
from m2m.merging.plan.tensors import PlannedTensor, WantedTensor
from m2m.merging.prepare import prepare, read_weights, references_of, tell_doubts
from m2m.merging.recipe.models import open_references
from m2m.merging.recipe.reader import load
from m2m.merging.recipe.recipe import Recipe
from m2m.merging.stream.memory import collector_paused
from m2m.merging.stream.options import MergeOptions
from m2m.merging.stream.report import MergeReport
from m2m.merging.stream.run import run_plan
from m2m.support.checked import Positive, checked
from m2m.support.progress import Progress
from m2m.support.units import format_bytes

#: Bytes of the outputs that are really merged, to see how long the rest will take.
PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class MergeCheck:
    """What a merge would do and take.

    Attributes:
        method: The merge method.
        models: Bytes of the tensors of each model, by how the recipe names it.
        outputs: Checkpoints that would be written.
        files: Weight files of each.
        tensors: Tensors of each.
        written_bytes: Tensor bytes of all of them.
        read_bytes: Tensor bytes that would be read, some inputs more than once, scaled up from the piece.
        seconds: How long it would take, scaled up from the piece; threads start once in either.
        memory_bytes: What its buffers take besides what the process holds.
        threads: Workers.
        free_bytes: What is free where it would write.
        piece_bytes: Tensor bytes that were really merged for this, and thrown away.
        notes: What the user may not expect of the result.
        warnings: What makes the merge doubtful.
    """

    method: str
    models: Mapping[str, int]
    outputs: int
    files: int
    tensors: int
    written_bytes: int
    read_bytes: int
    seconds: float
    memory_bytes: int
    threads: int
    free_bytes: int
    piece_bytes: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Turn it into what JSON can hold.

        Returns:
            The attributes by name.
        """
        return asdict(self)


@checked()
@remote_session()
def check(
    recipe: Recipe | Path | str | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    memory: str | int = "256MiB",
    threads: Positive | None = None,
    shard_size: str | int = "5GB",
    dtype: str | None = None,
    candidates: Candidates | str | Path | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> MergeCheck:
    """Say what `m2m.merge` with these arguments would do and take, without leaving anything behind.

    Args:
        recipe: As of `merge`.
        out: The folder that the merge would make; where nothing is said, the working folder's disk counts.
        memory: As of `merge`.
        threads: As of `merge`.
        shard_size: As of `merge`.
        dtype: As of `merge`.
        candidates: As of `merge`. [M, N]
        strict: Whether what makes a merge doubtful is an error.
        progress: Is told bytes of the piece that are merged, bytes in all and what is going on.

    Returns:
        What it would do and take.

    Raises:
        ConfigError: If the memory is too small.
        RecipeError: If the recipe is malformed, or asks for what is not there.
        CheckpointError: If an input is malformed, does not fit the others, or a piece of it is not finite;
            if `strict`, also where models differ so that their average is doubtful.
        RunFolderError: If `out` exists, or its disk is too small.
    """  # noqa: DOC502 - raised by what is called
    parsed = recipe if isinstance(recipe, Recipe) else load(recipe)
    refs = references_of(parsed)
    read = [path for ref in refs for path in (ref.path, ref.lora)]
    elsewhere = out is not None and remote_url(out) is not None
    place = remote_cache() if elsewhere else Path.cwd()
    if out is not None and not elsewhere:
        place = free_place(out, read, resume=False).absolute().parent
    candidates = read_weights(parsed, candidates)
    with collector_paused():
        models = open_references(refs, parsed.base, averaged=parsed.averages)
        doubts = tell_doubts(parsed, models, strict=strict)
        plan = prepare(parsed, models, candidates, dtype, shard_size, doubts=doubts).plan
        there = next(folder for folder in (place, *place.parents) if folder.is_dir())
        free = shutil.disk_usage(there).free
        if free < plan.nbytes and not elsewhere:
            raise RunFolderError(
                f"{there}: {format_bytes(free)} are free, the merge writes {format_bytes(plan.nbytes)}: make "
                "room, choose another folder, or a narrower --dtype"
            )
        piece = _piece(plan)
        options = MergeOptions(memory, threads, allow_nonfinite=parsed.allow_nonfinite, progress=progress)
        report = _merge_piece(piece, there, options)
    scale = plan.nbytes / max(piece.nbytes, 1)
    return MergeCheck(
        method=parsed.method,
        models={
            str(ref): sum(info.nbytes for info in model.tensors.values()) for ref, model in models.items()
        },
        outputs=len(plan.outputs),
        files=len(plan.outputs[0].layout.shards),
        tensors=len(plan.tensors),
        written_bytes=plan.nbytes,
        read_bytes=round(report.read_bytes * scale),
        seconds=report.wall_s * scale,
        memory_bytes=report.threads * report.slot_bytes * (plan.input_slots + len(plan.outputs)),
        threads=report.threads,
        free_bytes=free,
        piece_bytes=piece.nbytes,
        notes=(*parsed.notes, *plan.notes),
        warnings=doubts,
    )


def _piece(plan: MergePlan) -> MergePlan:
    """Take tensors spread over a plan that hold at most `PIECE_BYTES` together, if there are such."""
    share = min(1.0, PIECE_BYTES / max(plan.nbytes, 1))
    chosen: list[PlannedTensor] = []
    due = 0.0
    for tensor in plan.tensors:
        due += share * tensor.entry.nbytes
        if due >= tensor.entry.nbytes:
            chosen.append(tensor)
            due -= tensor.entry.nbytes
    chosen = chosen or [min(plan.tensors, key=lambda tensor: tensor.entry.nbytes)]
    wanted = [_wanted(tensor, plan) for tensor in chosen]
    names: dict[str, dict[str, str]] = {output.name: {} for output in plan.outputs}
    return replace(build_plan([], wanted, names, plan.method), opened=plan.opened)


def _wanted(tensor: PlannedTensor, plan: MergePlan) -> WantedTensor:
    weights = None if tensor.block is None else plan.blocks[tensor.block]
    return WantedTensor(tensor.entry, tensor.sources, weights, tensor.settings, tensor.origin, tensor.copied)


def _merge_piece(piece: MergePlan, beside: Path, options: MergeOptions) -> MergeReport:
    # On the disk that the merge would write to, if it may be written to at all.
    folder = str(beside) if os.access(beside, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=".m2m-check-", dir=folder) as work:
        return run_plan(piece, Path(work) / "piece", options, lambda *_: None, time.perf_counter())
