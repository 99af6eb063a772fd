"""A recipe, or plain weights, resolved: what each tensor of the outputs is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from m2m.checkpoint.aligned import align
from m2m.checkpoint.buffers import is_buffer
from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.header import MERGEABLE, TORCH_NAMES, TensorInfo
from m2m.checkpoint.writer import Entry
from m2m.errors import CheckpointError, RecipeError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.experts import expert_tensors
from m2m.merging.lora.terms import Terms, resolve_terms
from m2m.merging.methods.parameters import LARGEST, Settings
from m2m.merging.methods.spec import Method
from m2m.merging.methods.weighted import WeightedSum, input_weights
from m2m.merging.plan.tensors import TensorSource, WantedTensor, WeightBlock, files_of
from m2m.merging.recipe.layers import OutputTensor
from m2m.merging.recipe.models import ModelRef
from m2m.merging.recipe.recipe import Recipe
from m2m.merging.vocabulary.gathered import GatheredTensor
from m2m.merging.vocabulary.vocabulary import OutputVocabulary
from m2m.support.names import short_names
from m2m.support.schema import did_you_mean

#: Candidate name to merging weights of the experts, which take the place of the recipe's. each [N]
Candidates = Mapping[str, Sequence[float]]


def expert_names(recipe: Recipe) -> tuple[str, ...]:
    """Name a recipe's experts shortly, as the columns of a table of candidates do. [N]."""
    # By their paths, or the whole reference where that would be ambiguous.
    full = [str(model) for model in recipe.models]
    short = short_names([model.path for model in recipe.models])
    return tuple(short if len(set(short)) == len(short) else full)


def from_weights(
    models: Sequence[Checkpoint], weights: Sequence[Sequence[float]], dtype: str | None = None
) -> list[WantedTensor]:
    """Give every float tensor the same weights [M, N]; others are copied. In the first input's order."""
    # `dtype` is the safetensors name of the outputs' float type; the first input's when not given.
    # CheckpointError if the inputs differ in names, shapes or kinds, or hold a type that cannot be merged.
    first, *others = models
    aligned = align(first, others)
    block = tuple(tuple(map(float, row)) for row in weights)
    wanted = []
    for info in first.tensors.values():
        sources = (info, *(model.tensors[info.name] for model in aligned.models))
        if info.name in aligned.kept:
            wanted.append(_copied(info.name, (info,)))
        elif info.dtype in MERGEABLE:
            wanted.append(WantedTensor(Entry(info.name, dtype or info.dtype, info.shape), sources, block))
        else:
            wanted.append(_copied(info.name, sources))
    return wanted


def from_recipe(
    recipe: Recipe,
    models: Mapping[ModelRef, Checkpoint],
    dtype: str | None = None,
    candidates: Candidates | None = None,
    *,
    kept: Collection[str] = (),
    tails: Mapping[str, TensorInfo] | None = None,
    statistics: bool = False,
    opened: dict[str, Checkpoint] | None = None,
    vocabulary: OutputVocabulary | None = None,
) -> list[WantedTensor]:
    """Resolve a recipe over open models that fit each other, tensor by tensor; `kept` are the donor's."""
    # `dtype` is the safetensors name of the outputs' float type; each tensor's own in the donor when not
    # given. `tails` are rows that follow what is merged of a tensor. With `statistics` the base model is
    # among the sources even if the method does not use it. What parameters name and is opened, as files of
    # estimates, is added to `opened`. RecipeError if the method has no weights that candidates could replace,
    # or writes one output a pass; CheckpointError if sources do not fit each other, or hold a type that
    # cannot be merged.
    rule = recipe.rule
    if candidates is not None and not rule.takes_candidates:
        raise RecipeError(
            f"merge_method {recipe.method} writes one checkpoint a pass: merge candidates singly"
        )
    donor = models[recipe.donor]
    outputs = recipe.outputs(donor.names)
    sliced = any(part.ranges for part in recipe.slices)
    inputs_of = [[models[ref] for ref in part.inputs] for part in recipe.slices]
    origins = [0 if part.base is not None else None for part in recipe.slices]
    resolver = _Weights(recipe, rule, candidates) if isinstance(rule, WeightedSum) else None
    opened = {} if opened is None else opened
    open_file = _opener(opened)
    left = recipe.left_out(donor.names)
    if vocabulary is not None and (unmoved := vocabulary.names.intersection(left)):
        raise _refused_keeping(min(unmoved))
    wanted = [_copied(name, (donor.tensors[name],)) for name in left]
    for output in outputs:
        inputs, origin = inputs_of[output.slice_index], origins[output.slice_index]
        by_token = vocabulary is not None and output.name in vocabulary.names
        if output.name in kept:
            if by_token:
                raise _refused_keeping(output.name)
            wanted.append(_copied(output.name, (donor.tensors[output.name],)))
            continue
        sources: tuple[TensorInfo | GatheredTensor, ...]
        if vocabulary is not None and by_token:
            sources = vocabulary.tensors(models, recipe.slices[output.slice_index].inputs, output.inputs)
        elif sliced:
            sources = _sources(inputs, output)
        else:  # they have been aligned
            sources = tuple([model.tensors[output.name] for model in inputs])
        entry = Entry(output.name, dtype or _own_dtype(donor, output, sources), sources[0].shape)
        if sliced and not by_token and is_buffer(_stored(inputs, output)[0]):
            wanted.append(_copied(output.name, sources[:1]))
        elif sources[0].dtype not in MERGEABLE:
            wanted.append(_copied(output.name, sources))
        elif resolver is not None:
            wanted.append(resolver.wanted(entry, inputs, output, sources, origin))
        else:
            settings = _settings(recipe, output, candidates)
            own = _stored(inputs, output)
            more = rule.more_inputs(settings[0], own if origin is None else own[1:], open_file)
            if by_token and more:
                raise RecipeError(
                    f"{output.name!r}: its rows follow the tokenizer, but estimates of its elements do not; "
                    "leave tokenizer and tokenizer_source out"
                )
            experts = expert_tensors(inputs, output.inputs, more, sources)
            wanted.append(WantedTensor(entry, (*experts, *more), settings=settings, origin=origin))
    if opened:
        _check_used(opened, wanted)
        _check_known(opened, models.values())
    if statistics:
        wanted = [_with_base(recipe, models, tensor, vocabulary) for tensor in wanted]
    return [_with_tail(rule, tensor, (tails or {}).get(tensor.entry.name)) for tensor in wanted]


def _stored(inputs: Sequence[Checkpoint], output: OutputTensor) -> tuple[TensorInfo, ...]:
    return tuple([model.tensors[name] for model, name in zip(inputs, output.inputs, strict=True)])


def _refused_keeping(name: str) -> RecipeError:
    return RecipeError(
        f"{name!r} is kept as it is (exclude, or no module takes it), but its rows follow the tokenizer; "
        "leave one of them out"
    )


def _opener(opened: dict[str, Checkpoint]) -> Callable[[str], Checkpoint]:
    def open_once(path: str) -> Checkpoint:
        if path not in opened:
            opened[path] = Checkpoint(path)
        return opened[path]

    return open_once


def _check_used(opened: Mapping[str, Checkpoint], wanted: Sequence[WantedTensor]) -> None:
    used = {file for tensor in wanted for source in tensor.sources for file in files_of(source)}
    for path, file in opened.items():
        if not used.intersection(file.files):
            merged = next(tensor.entry.name for tensor in wanted if not tensor.copied)
            raise CheckpointError(
                f"{path}: none of its tensors has the name of one of the models': it holds "
                f"{file.names[0]!r}, they hold {merged!r}"
            )


def _check_known(opened: Mapping[str, Checkpoint], models: Iterable[Checkpoint]) -> None:
    # A tensor that is called otherwise than the models' would count as one without an estimate.
    known = {name for model in models for name in (*model.tensors, *model.tied)}
    for path, file in opened.items():
        for name in file.tensors:
            if name not in known:
                raise CheckpointError(
                    f"{path}: its tensor {name!r} is none of the models'{did_you_mean(name, known)}: wanted "
                    "estimates by the models' names"
                )


def _own_dtype(
    donor: Checkpoint, output: OutputTensor, sources: tuple[TensorInfo | GatheredTensor, ...]
) -> str:
    # The donor's, whose config travels along; stacked layers may be more than it has.
    own = donor.tensors.get(output.name, sources[0]).dtype
    return own if own in MERGEABLE else sources[0].dtype


def _with_base(
    recipe: Recipe,
    models: Mapping[ModelRef, Checkpoint],
    tensor: WantedTensor,
    vocabulary: OutputVocabulary | None,
) -> WantedTensor:
    # For statistics: the base model's tensor where the method does not use it, without weight.
    if tensor.copied or tensor.origin is not None:
        return tensor
    base = _base_source(recipe, models, tensor, vocabulary)
    block = None if tensor.weights is None else tuple((*row, 0.0) for row in tensor.weights)
    return tensor._replace(sources=(*tensor.sources, base), weights=block, origin=len(tensor.sources))


def _with_tail(rule: Method, tensor: WantedTensor, tail: TensorInfo | None) -> WantedTensor:
    if tail is None:
        return tensor
    entry = tensor.entry._replace(shape=tail.shape)
    if tensor.weights is not None:
        alone = tuple((1.0,) for _ in tensor.weights)
        return tensor._replace(tail=WantedTensor(entry, (tail,), alone))
    if tail.dtype != entry.dtype:
        raise CheckpointError(
            f"{tail.file}: {rule.name} copies the rows of {entry.name!r} for new tokens, which are "
            f"{tail.dtype} where the result is {entry.dtype}: write dtype: {TORCH_NAMES[tail.dtype]} in the "
            "recipe"
        )
    return tensor._replace(tail=WantedTensor(entry, (tail,), copied=True))


def _base_source(
    recipe: Recipe,
    models: Mapping[ModelRef, Checkpoint],
    tensor: WantedTensor,
    vocabulary: OutputVocabulary | None,
) -> TensorInfo | GatheredTensor:
    assert recipe.base is not None
    name = tensor.entry.name
    base: TensorInfo | GatheredTensor = models[recipe.base].tensors[name]
    if vocabulary is not None and name in vocabulary.names:
        refs = (*recipe.slices[0].inputs, recipe.base)
        base = vocabulary.tensors(models, tuple(dict.fromkeys(refs)), [name] * len(set(refs)))[-1]
    # It would change the type that the others are summed in, and so their merge.
    if base.dtype == "F64" and all(source.dtype != "F64" for source in tensor.sources):
        raise CheckpointError(
            f"{base.file}: tensor {base.name!r} is F64, wider than the experts': no statistics of it"
        )
    return base


def _sources(inputs: Sequence[Checkpoint], output: OutputTensor) -> tuple[TensorInfo, ...]:
    sources: list[TensorInfo] = []
    for model, name in zip(inputs, output.inputs, strict=True):
        source = model.tensors.get(name)
        if source is None:
            raise CheckpointError(f"{model.path}: holds no tensor {name!r}, which {output.name!r} is made of")
        sources.append(source)
    first = sources[0]
    for model, source in zip(inputs, sources, strict=True):
        if source.shape != first.shape:
            raise CheckpointError(
                f"{model.path}: tensor {source.name!r} has shape {list(source.shape)}, wanted "
                f"{list(first.shape)} as in {first.file}"
            )
        if source.dtype != first.dtype and not {source.dtype, first.dtype} <= MERGEABLE:
            raise CheckpointError(
                f"{model.path}: tensor {source.name!r} is {source.dtype}, wanted {first.dtype} as in "
                f"{first.file}"
            )
    return tuple(sources)


class _Weights:
    """Merging weights, tensor by tensor; where no setting depends on the tensor, worked out once a slice."""

    def __init__(self, recipe: Recipe, rule: WeightedSum, candidates: Candidates | None) -> None:
        self._recipe = recipe
        self._rule = rule
        self._candidates = candidates
        self._rows: dict[int, WeightBlock] = {}
        self._blocks: dict[int, WeightBlock] = {}

    def wanted(
        self,
        entry: Entry,
        inputs: Sequence[Checkpoint],
        output: OutputTensor,
        sources: tuple[TensorInfo | GatheredTensor, ...],
        origin: int | None,
    ) -> WantedTensor:
        number = output.slice_index
        known = self._blocks.get(number)
        if known is not None:
            return WantedTensor(entry, sources, known, origin=origin)
        with_base = self._recipe.slices[number].base is not None
        on_task_vectors = self._rule.on_task_vectors(with_base=with_base)
        rows = self._rows.get(number) or point_weights(self._recipe, self._rule, output, self._candidates)
        constant = self._recipe.is_constant(number)
        if constant:
            self._rows[number] = rows
        if any(isinstance(model, AdaptedCheckpoint) for model in inputs):
            terms = resolve_terms(inputs, output.inputs, rows, on_task_vectors=on_task_vectors, dense=sources)
            return _of_pieces(entry, terms, origin)
        block = tuple(tuple(input_weights(row, on_task_vectors=on_task_vectors)) for row in rows)
        if constant:
            self._blocks[number] = block
        return WantedTensor(entry, sources, block, origin=origin)


def _of_pieces(entry: Entry, terms: Terms, origin: int | None) -> WantedTensor:
    # Experts of a mixture that are stored in one tensor are merged one behind the other.
    pieces = [*terms.pieces()]
    shape = entry.shape if len(pieces) == 1 else (1, *entry.shape[1:])
    wanted: WantedTensor | None = None
    for piece in reversed(pieces):
        sources = cast("tuple[TensorSource, ...]", (*piece.dense, *piece.added))
        wanted = WantedTensor(entry._replace(shape=shape), sources, piece.weights, origin=origin, tail=wanted)
    assert wanted is not None
    return wanted


def point_weights(
    recipe: Recipe, rule: WeightedSum, output: OutputTensor, candidates: Candidates | None
) -> WeightBlock:
    """Merging weights α of one tensor's points [M, N]: the candidates', or one row, the recipe's own."""
    return tuple(tuple(rule.weights(each)) for each in _settings(recipe, output, candidates))


def _settings(recipe: Recipe, output: OutputTensor, candidates: Candidates | None) -> tuple[Settings, ...]:
    settings = recipe.settings(output.name, output.layer, output.slice_index)
    if candidates is None:
        return (settings,)
    return tuple(_with_weights(recipe, settings, name, weights) for name, weights in candidates.items())


def _with_weights(recipe: Recipe, settings: Settings, name: str, weights: Sequence[float]) -> Settings:
    if any("weight" not in row for row in settings.each):
        raise RecipeError(
            f"merge_method {recipe.method} has no weight a model, so candidates have nothing to replace"
        )
    if len(weights) != len(settings.each):
        raise RecipeError(f"candidate {name!r} has {len(weights)} weights for {len(settings.each)} models")
    if any(abs(weight) > LARGEST for weight in weights):
        raise RecipeError(
            f"candidate {name!r}: weights must be at most {LARGEST:g} in size, got {list(weights)}"
        )
    each = [{**row, "weight": float(weight)} for row, weight in zip(settings.each, weights, strict=True)]
    return replace(settings, each=each)


def _copied(name: str, sources: tuple[TensorInfo | GatheredTensor, ...]) -> WantedTensor:
    first = sources[0]
    if first.dtype.startswith("F8") or first.dtype == "C64":
        why = "means nothing without its scales" if first.dtype.startswith("F8") else "is complex"
        raise CheckpointError(
            f"{first.file}: tensor {first.name!r} is {first.dtype}, which {why}, and is not merged"
        )
    if any(isinstance(source, GatheredTensor) for source in sources):
        raise CheckpointError(
            f"{first.file}: tensor {first.name!r} is {first.dtype}, whose rows cannot follow a tokenizer"
        )
    return WantedTensor(Entry(name, first.dtype, first.shape), sources, copied=True)
