"""Write a merge of adapters as adapters: one for the recipe, or one a candidate."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.folder import new_folder
from m2m.checkpoint.locate import ADAPTER_NAMES
from m2m.checkpoint.manifest import write_manifest
from m2m.checkpoint.writer import plan_layout, write_shard
from m2m.errors import RecipeError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.config import NAME
from m2m.merging.lora.join import JoinedAdapter, check_sums_to_base, join_adapters
from m2m.merging.lora.terms import resolve_terms
from m2m.merging.plan.resolve import Candidates, point_weights, uses_task_vectors
from m2m.merging.plan.tensors import WeightBlock
from m2m.merging.recipe.models import ModelRef
from m2m.merging.recipe.recipe import Recipe
from m2m.merging.report import MergeReport
from m2m.merging.stream.memory import anonymous_bytes, peak_resident_bytes

#: Wide enough to hold every factor of at most 32 bits exactly; only the folded weights are rounded.
_DTYPE = "F32"


def write_adapters(
    recipe: Recipe,
    models: Mapping[ModelRef, Checkpoint],
    out: Path,
    *,
    dtype: str | None = None,
    candidates: Candidates | None = None,
) -> MergeReport:
    """Write a recipe over adapters of one base model as an adapter.

    Args:
        recipe: The recipe; its method is a weighted sum with weights known before reading.
        models: An open checkpoint for each of its models.
        out: The folder to make; with candidates, a folder that holds one for each.
        dtype: Safetensors name of the factors' type; float32 when not given.
        candidates: Merging weights that replace the recipe's.

    Returns:
        What was done.

    Raises:
        RecipeError: If the result is not the base model plus products of factors.
        CheckpointError: If an adapter does not fit the base model, or holds more than factors.
        RunFolderError: If `out` exists.
    """  # noqa: DOC502 - raised by what is called
    started = time.perf_counter()
    names = [""] if candidates is None else list(candidates)
    rows = _weights(recipe, models, candidates)
    experts = _experts(recipe, models)
    joined = [
        join_adapters(experts, {tensor: block[m] for tensor, block in rows.items()})
        for m in range(len(names))
    ]
    with new_folder(out) as work:
        for name, adapter in zip(names, joined, strict=True):
            (work / name).mkdir(exist_ok=True)
            _write(adapter, work / name, dtype or _DTYPE, json.dumps(recipe.to_dict()))
        for model in models.values():
            model.check_unchanged()
    return _report(out, names, joined, started)


def _experts(recipe: Recipe, models: Mapping[ModelRef, Checkpoint]) -> list[AdaptedCheckpoint]:
    experts = []
    for source in recipe.slices[0].sources:
        model = models[source.model]
        if not isinstance(model, AdaptedCheckpoint):
            raise RecipeError(
                f"{source.model} is a whole model, not an adapter: the merge cannot be written as one"
            )
        experts.append(model)
    return experts


def _weights(
    recipe: Recipe, models: Mapping[ModelRef, Checkpoint], candidates: Candidates | None
) -> dict[str, WeightBlock]:
    # Merging weights by tensor [M, N]; every tensor is checked, the ones that no adapter changes too.
    if recipe.rule.kind != "weights":
        raise RecipeError(
            f"merge_method {recipe.method} is no weighted sum, so what it makes of adapters is no product of "
            "low rank: leave --as-adapter (as_adapter) out to write the merged model itself"
        )
    if any(part.ranges for part in recipe.slices):
        raise RecipeError("only whole adapters can be written as an adapter, not slices of them")
    on_task_vectors = uses_task_vectors(recipe, 0)
    inputs = [models[ref] for ref in recipe.slices[0].inputs]
    found = {}
    for output in recipe.outputs(models[recipe.donor].names):
        rows = point_weights(recipe, output, candidates)
        terms = resolve_terms(inputs, output.inputs, rows, on_task_vectors=on_task_vectors)
        for row, weights in zip(rows, terms.weights, strict=True):
            check_sums_to_base(output.name, weights[: len(terms.dense)], row)
        found[output.name] = rows
    return found


def _write(adapter: JoinedAdapter, folder: Path, dtype: str, recipe: str) -> None:
    layout = plan_layout(adapter.entries(dtype), {"format": "pt", "m2m.recipe": recipe})
    with (folder / ADAPTER_NAMES[0]).open("wb") as file:
        write_shard(layout.shards[0], lambda name: adapter.tensor(name, dtype), file)
    (folder / NAME).write_text(
        json.dumps(adapter.config(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    write_manifest(folder)


def _report(out: Path, names: Sequence[str], joined: Sequence[JoinedAdapter], started: float) -> MergeReport:
    read = sum(
        block.factors.a.nbytes + block.factors.b.nbytes
        for adapter in joined
        for blocks in adapter.blocks.values()
        for block in blocks
    )
    folders = tuple(out / name for name in names)
    return MergeReport(
        out=out,
        folders=folders,
        tensors=2 * len(joined[0].blocks),
        wall_s=time.perf_counter() - started,
        read_bytes=read,
        written_bytes=sum((folder / ADAPTER_NAMES[0]).stat().st_size for folder in folders),
        resumed_bytes=0,
        peak_rss_bytes=peak_resident_bytes(),
        peak_anon_bytes=anonymous_bytes(),
        threads=1,
        slot_bytes=0,
    )
