"""A recipe's models brought together before tensors are resolved: one set of names, one number of tokens.

Harmless differences are settled by `m2m.checkpoint.aligned`. What adapters change beyond weights is settled
here: a head that they hold apart from the embedding it was tied to, and rows of tokens that they add.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from m2m.checkpoint.aligned import Advice, Aligned, AlignedCheckpoint
from m2m.checkpoint.as_stored import align_as_stored
from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import head_ties, same_bytes, vocabulary_tensors
from m2m.checkpoint.header import TensorInfo
from m2m.errors import CheckpointError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.additions import first_rows
from m2m.merging.recipe.models import ModelRef
from m2m.merging.recipe.recipe import Recipe

#: What a recipe can say of models that do not fit.
_IN_THE_RECIPE = Advice(
    missing="if they are to stay as they are there, write fill_missing: base under m2m in the recipe",
    extra="to leave tensors out, list globs of their names as exclude under m2m in the recipe",
    rows="write tokenizer_source: base (or union, or one of the models) in the recipe, and rows are put "
    "together token by token",
)


class FittedModels(NamedTuple):
    """A recipe's models, ready to be resolved tensor by tensor.

    Attributes:
        models: Each under the donor's tensor names, by reference.
        kept: Tensors that are the donor's whatever the others hold.
        tails: Rows that follow those that are merged, by tensor name.
        config: What the result's `config.json` must say instead of the donor's.
        notes: What is stored differently, and what follows.
    """

    models: Mapping[ModelRef, Checkpoint]
    kept: frozenset[str]
    tails: Mapping[str, TensorInfo]
    config: Mapping[str, Any]
    notes: tuple[str, ...]


def fit_models(recipe: Recipe, models: Mapping[ModelRef, Checkpoint]) -> FittedModels:
    """Bring a recipe's open models together.

    Args:
        recipe: The recipe.
        models: Its models, opened.

    Returns:
        The models as they are merged.

    Raises:
        CheckpointError: If they do not fit each other.
    """
    bases = {ref: _base(model) for ref, model in models.items()}
    apart = _heads_apart(recipe, bases)
    aligned = _align(recipe, {ref: _untied(model, apart) for ref, model in bases.items()})
    bases = dict(zip(models, aligned.models, strict=True))
    fitted = {ref: _on(bases[ref], model) for ref, model in models.items()}
    by_adapters = {head: kept for model in _adapted(fitted) for head, kept in model.unties.items()}
    if by_adapters:
        bases = {ref: _untied(model, by_adapters) for ref, model in bases.items()}
        fitted = {ref: _on(bases[ref], model) for ref, model in models.items()}
    untied = apart | by_adapters
    sizes, tails = _token_rows(fitted, bases[recipe.donor])
    if sizes and recipe.tokenizer:
        raise CheckpointError(
            f"{min(sizes)!r}: an adapter holds rows for other tokens than its base model has, and the recipe "
            "has a tokenizer of its own; write the adapted model first (passthrough), and merge that"
        )
    if sizes:
        bases = {ref: _first_rows(model, sizes) for ref, model in bases.items()}
        fitted = {ref: _on(bases[ref], model, cut=True) for ref, model in models.items()}
    config: dict[str, Any] = {"tie_word_embeddings": False} if untied else {}
    for rows in sizes.values():
        config["vocab_size"] = rows
    notes = (*aligned.notes, *_notes(untied, sizes, tails), *_of_modules(recipe, bases[recipe.donor]))
    return FittedModels(fitted, aligned.kept, tails, config, notes)


def _of_modules(recipe: Recipe, donor: Checkpoint) -> list[str]:
    left = recipe.left_out(donor.names)
    if not left:
        return []
    return [
        f"no module of the recipe takes {len(left)} tensors ({', '.join(map(repr, left[:3]))}...); they are "
        f"those of {donor.path}"
    ]


def _base(model: Checkpoint) -> Checkpoint:
    return model.base if isinstance(model, AdaptedCheckpoint) else model


def _on(base: Checkpoint, model: Checkpoint, *, cut: bool = False) -> Checkpoint:
    # A model on top of what its base model has become.
    if not isinstance(model, AdaptedCheckpoint):
        return base
    return AdaptedCheckpoint(base, model.adapter, named=False, cut=cut)


def _adapted(models: Mapping[ModelRef, Checkpoint]) -> list[AdaptedCheckpoint]:
    return [model for model in models.values() if isinstance(model, AdaptedCheckpoint)]


def _align(recipe: Recipe, models: Mapping[ModelRef, Checkpoint]) -> Aligned:
    # Where slices stack layers, names differ by design: each tensor finds its own.
    if any(part.ranges for part in recipe.slices):
        return Aligned(tuple(models.values()), frozenset(), ())
    donor = models[recipe.donor]
    others = [model for ref, model in models.items() if ref != recipe.donor]
    found = align_as_stored(
        donor,
        others,
        exclude=recipe.exclude,
        fill_missing=recipe.fill_missing,
        any_rows=vocabulary_tensors(donor) if recipe.tokenizer else (),
        advice=_IN_THE_RECIPE,
    )
    rest = iter(found.models)
    return found._replace(models=tuple(donor if ref == recipe.donor else next(rest) for ref in models))


def _heads_apart(recipe: Recipe, models: Mapping[ModelRef, Checkpoint]) -> dict[str, str]:
    # Heads that a model stores, and not as a copy, where the donor ties them to an embedding: it by head.
    donor = models[recipe.donor]
    found: dict[str, str] = {}
    for head, embedding in head_ties(donor).items():
        for model in models.values():
            own, beside = model.tensors.get(head), model.tensors.get(embedding)
            stored = own is not None and beside is not None and not same_bytes(own, beside)
            if stored and not any(fnmatchcase(head, glob) for glob in recipe.exclude):
                found[head] = embedding
    return {} if any(part.ranges for part in recipe.slices) else found


def _untied(model: Checkpoint, untied: Mapping[str, str]) -> Checkpoint:
    if model.tensors.keys() >= untied.keys():
        return model
    heads = {head: model.tensors[kept]._replace(name=head) for head, kept in untied.items()}
    return AlignedCheckpoint(model, model, heads | model.tensors)


def _first_rows(model: Checkpoint, sizes: Mapping[str, int]) -> Checkpoint:
    cut = {
        name: first_rows(info, sizes[name]) if name in sizes and info.shape[0] > sizes[name] else info
        for name, info in model.tensors.items()
    }
    return AlignedCheckpoint(model, model, cut)


def _token_rows(
    models: Mapping[ModelRef, Checkpoint], donor: Checkpoint
) -> tuple[dict[str, int], dict[str, TensorInfo]]:
    # Rows of embeddings and heads that adapters hold for other tokens, and those that the donor has not.
    sizes: dict[str, int] = {}
    tails: dict[str, TensorInfo] = {}
    for model in _adapted(models):
        for name, info in model.resized.items():
            rows, known = info.shape[0], donor.tensors[name].shape[0]
            if sizes.setdefault(name, rows) != rows:
                raise CheckpointError(
                    f"{info.file}: holds {name!r} for {rows} tokens, another adapter for {sizes[name]}; give "
                    "them one tokenizer, or merge them one after another"
                )
            if rows <= known:
                continue
            tail = first_rows(info, rows - known, known)
            if not same_bytes(tails.setdefault(name, tail), tail):
                raise CheckpointError(
                    f"{info.file}: brings rows of {name!r} for tokens that {donor.path} has not, and "
                    f"{tails[name].file} brings others: there is nothing to say which are kept; merge them "
                    "one after another"
                )
    return sizes, tails


def _notes(untied: Mapping[str, str], sizes: Mapping[str, int], tails: Mapping[str, TensorInfo]) -> list[str]:
    notes = [
        f"{head!r} is written apart from {kept!r}, to which it was tied: one of the models holds them apart"
        for head, kept in untied.items()
    ]
    for name, rows in sizes.items():
        tail = tails.get(name)
        last = "" if tail is None else f"; the last {tail.shape[0]} are those of {tail.file}"
        notes.append(f"{name!r} has {rows} rows, as in the adapter that holds it{last}")
    return notes
