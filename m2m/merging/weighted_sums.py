"""From a recipe, or from plain weights, to what each tensor of the outputs is the weighted sum of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.compare import check_same_tensors
from m2m.checkpoint.dtypes import MERGEABLE
from m2m.checkpoint.header import TensorInfo
from m2m.checkpoint.layout import Entry
from m2m.errors import CheckpointError, RecipeError
from m2m.merging.lora import AdaptedCheckpoint, resolve_terms
from m2m.merging.methods.spec import Settings
from m2m.merging.methods.weighted import input_weights
from m2m.merging.plan import Input, WantedTensor, WeightBlock
from m2m.merging.recipe import Recipe
from m2m.merging.recipe_layers import OutputTensor
from m2m.merging.recipe_models import ModelRef

#: Candidate name to merging weights of the experts, which take the place of the recipe's. each [N]
Candidates = Mapping[str, Sequence[float]]


def expert_names(recipe: Recipe) -> tuple[str, ...]:
    """Name a recipe's experts shortly, as the columns of a table of candidates do.

    Args:
        recipe: The recipe.

    Returns:
        The last part of each path, or the whole reference where that would be ambiguous. [N]
    """
    full = [str(model) for model in recipe.models]
    short = [PurePath(model.path).name for model in recipe.models]
    return tuple(short if len(set(short)) == len(short) else full)


def from_weights(
    models: Sequence[Checkpoint], weights: Sequence[Sequence[float]], dtype: str | None = None
) -> list[WantedTensor]:
    """Give every float tensor the same weights.

    Args:
        models: The inputs; they must hold the same tensors. [N]
        weights: Merging weights, a row a candidate. [M, N]
        dtype: Safetensors name of the outputs' float type; the first input's when not given.

    Returns:
        The outputs' tensors, in the first input's order.

    Raises:
        CheckpointError: If the inputs differ in names, shapes or kinds, or hold a type that cannot be merged.
    """  # noqa: DOC502 - raised by what is called
    check_same_tensors(models[0], models[1:], mixed_floats=True)
    block = tuple(tuple(map(float, row)) for row in weights)
    return [
        _wanted(info.name, tuple(model.tensors[info.name] for model in models), dtype, block)
        for info in models[0].tensors.values()
    ]


def from_recipe(
    recipe: Recipe,
    models: Mapping[ModelRef, Checkpoint],
    dtype: str | None = None,
    candidates: Candidates | None = None,
) -> list[WantedTensor]:
    """Resolve a recipe whose method is a weighted sum with weights that are known before reading.

    Args:
        recipe: The recipe.
        models: An open checkpoint for each of its models.
        dtype: Safetensors name of the outputs' float type; each tensor's first source's when not given.
        candidates: Merging weights that replace the recipe's; one output, the recipe's own, when not given.

    Returns:
        The outputs' tensors.

    Raises:
        RecipeError: If the method is not such a sum, or has no weights that candidates could replace.
        CheckpointError: If sources do not fit each other, or hold a type that cannot be merged.
    """  # noqa: DOC502 - raised by what is called
    if recipe.rule.kind != "weights":
        raise RecipeError(
            f"merge_method {recipe.method} is not streamed yet; its reference twin is in m2m.merging.methods"
        )
    lead = models[recipe.donor]
    outputs = recipe.outputs(lead.names)
    if not any(part.ranges for part in recipe.slices):
        inputs = [models[ref] for ref in recipe.slices[0].inputs]
        check_same_tensors(lead, [model for model in inputs if model is not lead], mixed_floats=True)
    wanted = []
    for output in outputs:
        sources: tuple[Input, ...] = _sources(recipe, models, output)
        mergeable = sources[0].dtype in MERGEABLE
        block: WeightBlock = ()
        if mergeable:
            rows = point_weights(recipe, output, candidates)
            sources, block = _terms(recipe, models, output, sources, rows)
        wanted.append(_wanted(output.name, sources, dtype, block))
    return wanted


def _sources(
    recipe: Recipe, models: Mapping[ModelRef, Checkpoint], output: OutputTensor
) -> tuple[TensorInfo, ...]:
    sources = []
    for ref, name in zip(recipe.slices[output.slice_index].inputs, output.inputs, strict=True):
        source = models[ref].tensors.get(name)
        if source is None:
            raise CheckpointError(
                f"{models[ref].path}: holds no tensor {name!r}, which {output.name!r} is made of"
            )
        sources.append(source)
    for ref, source in zip(recipe.slices[output.slice_index].inputs, sources, strict=True):
        if source.shape != sources[0].shape:
            raise CheckpointError(
                f"{models[ref].path}: tensor {source.name!r} has shape {list(source.shape)}, wanted "
                f"{list(sources[0].shape)} as in {sources[0].file}"
            )
    return tuple(sources)


def _terms(
    recipe: Recipe,
    models: Mapping[ModelRef, Checkpoint],
    output: OutputTensor,
    sources: tuple[Input, ...],
    rows: WeightBlock,
) -> tuple[tuple[Input, ...], WeightBlock]:
    on_task_vectors = uses_task_vectors(recipe, output.slice_index)
    inputs = [models[ref] for ref in recipe.slices[output.slice_index].inputs]
    if any(isinstance(model, AdaptedCheckpoint) for model in inputs):
        terms = resolve_terms(inputs, output.inputs, rows, on_task_vectors=on_task_vectors)
        return (*terms.dense, *terms.added), terms.weights
    return sources, tuple(tuple(input_weights(row, on_task_vectors=on_task_vectors)) for row in rows)


def uses_task_vectors(recipe: Recipe, slice_index: int) -> bool:
    """Say whether a slice's points are task vectors, and its first input the base model.

    Args:
        recipe: The recipe.
        slice_index: The slice.

    Returns:
        Whether they are; else the points are the inputs themselves.
    """
    space, base = recipe.rule.space, recipe.slices[slice_index].base
    return space == "task vectors" or (space == "either" and base is not None)


def point_weights(recipe: Recipe, output: OutputTensor, candidates: Candidates | None) -> WeightBlock:
    """Resolve the merging weights α of one tensor's points.

    Args:
        recipe: A recipe whose method is a weighted sum with weights that are known before reading.
        output: The tensor.
        candidates: Merging weights that replace the recipe's; one row, the recipe's own, when not given.

    Returns:
        α, a row a candidate. [M, N]
    """
    settings = recipe.settings(output.name, output.layer, output.slice_index)
    coefficients = recipe.rule.coefficients
    assert coefficients is not None  # every method of kind "weights" has them
    if candidates is None:
        return (tuple(coefficients(None, settings)),)
    return tuple(
        tuple(coefficients(None, _with_weights(recipe, settings, name, weights)))
        for name, weights in candidates.items()
    )


def _with_weights(recipe: Recipe, settings: Settings, name: str, weights: Sequence[float]) -> Settings:
    if any("weight" not in row for row in settings.each):
        raise RecipeError(
            f"merge_method {recipe.method} has no weight a model, so candidates have nothing to replace"
        )
    if len(weights) != len(settings.each):
        raise RecipeError(f"candidate {name!r} has {len(weights)} weights for {len(settings.each)} models")
    each = [{**row, "weight": float(weight)} for row, weight in zip(settings.each, weights, strict=True)]
    return replace(settings, each=each)


def _row(recipe: Recipe, settings: Settings, slice_index: int) -> tuple[float, ...]:
    method = recipe.rule
    assert method.coefficients is not None  # every method of kind "weights" has them
    has_base = recipe.slices[slice_index].base is not None
    on_task_vectors = method.space == "task vectors" or (method.space == "either" and has_base)
    return tuple(input_weights(method.coefficients(None, settings), on_task_vectors=on_task_vectors))


def _wanted(name: str, sources: tuple[Input, ...], dtype: str | None, block: WeightBlock) -> WantedTensor:
    first = sources[0]
    if first.dtype in MERGEABLE:
        return WantedTensor(Entry(name, dtype or first.dtype, first.shape), sources, block)
    if first.dtype.startswith("F8") or first.dtype == "C64":
        why = "means nothing without its scales" if first.dtype.startswith("F8") else "is complex"
        raise CheckpointError(
            f"{first.file}: tensor {first.name!r} is {first.dtype}, which {why}, and is not merged"
        )
    return WantedTensor(Entry(name, first.dtype, first.shape), sources, None)
