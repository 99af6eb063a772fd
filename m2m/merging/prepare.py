"""Prepare a merge: from a recipe and its open models to a plan and what travels with the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from m2m.candidates import read_candidates
from m2m.checkpoint.checkpoint import TIED_KEY, Checkpoint
from m2m.checkpoint.header import MERGEABLE, parse_dtype
from m2m.errors import RecipeError
from m2m.merging.chat_template import AUTO, most_common_template
from m2m.merging.doubts import warn_of_doubts
from m2m.merging.plan.fitting import FittedModels, fit_models
from m2m.merging.plan.plan import MergePlan, build_plan
from m2m.merging.plan.resolve import Candidates, expert_names, from_recipe
from m2m.merging.recipe.models import ModelRef
from m2m.merging.recipe.recipe import Recipe
from m2m.merging.side_files import choose_side_files
from m2m.merging.vocabulary.vocabulary import OutputVocabulary, plan_vocabulary
from m2m.support.names import check_names, folder_fault
from m2m.support.units import parse_bytes


class Prepared(NamedTuple):
    """A merge of open models before anything is read or written."""

    #: What will be done.
    plan: MergePlan
    #: The files that travel with the weights, by their names in the result.
    side_files: Mapping[str, Path]
    #: Safetensors name of the float type that is written; None for each tensor's own.
    dtype: str | None
    #: The chat template to write; None for the donor's.
    template: str | None
    #: What the recipe makes of tokens; None where it says nothing of them.
    vocabulary: OutputVocabulary | None


def read_weights(recipe: Recipe, candidates: Candidates | str | Path | None) -> Candidates | None:
    """Read a table of candidates, if it is one, and check their names; `RecipeError` if there are none."""
    if isinstance(candidates, str | Path):
        candidates = {row.label: row.weights for row in read_candidates(candidates, expert_names(recipe))}
    if candidates is not None and not candidates:
        raise RecipeError("there are no candidates to merge; wanted at least one row of weights")
    check_names(candidates or (), "candidate", folder_fault, RecipeError)
    return candidates


def references_of(recipe: Recipe) -> list[ModelRef]:
    """Every model that a recipe reads, once."""
    return list(dict.fromkeys([*(ref for part in recipe.slices for ref in part.inputs), recipe.donor]))


def tell_doubts(
    recipe: Recipe, models: Mapping[ModelRef, Checkpoint], *, strict: bool = False
) -> tuple[str, ...]:
    """Warn of what makes a merge of open models doubtful; `CheckpointError` if `strict`."""
    return warn_of_doubts(
        models[recipe.donor],
        [*models.values()],
        averaged=recipe.averages,
        words=recipe.tokenizer is None,
        templates=recipe.chat_template is None,
        strict=strict,
    )


def prepare(
    recipe: Recipe,
    models: Mapping[ModelRef, Checkpoint],
    candidates: Candidates | None,
    dtype: str | None,
    shard_size: str | int,
    *,
    statistics: bool = False,
    doubts: tuple[str, ...] = (),
) -> Prepared:
    """Choose what travels with the weights, and plan a merge of open models."""
    out_dtype = float_dtype(recipe.out_dtype or recipe.dtype if dtype is None else dtype)
    fitted = fit_models(recipe, models)
    vocabulary = plan_vocabulary(recipe, fitted.models)
    files = choose_side_files(models[recipe.donor], vocabulary)
    template, about_template = _template(recipe, models)
    plan = plan_merge(
        recipe,
        fitted,
        files.values(),
        dtype=out_dtype,
        shard_size=shard_size,
        candidates=candidates,
        vocabulary=vocabulary,
        statistics=statistics,
        notes=(*about_template, *(vocabulary.notes if vocabulary else ())),
        doubts=doubts,
    )
    return Prepared(plan, files, out_dtype, template, vocabulary)


def plan_merge(
    recipe: Recipe,
    fitted: FittedModels,
    side_files: Iterable[Path] = (),
    *,
    dtype: str | None,
    shard_size: str | int,
    candidates: Candidates | None = None,
    vocabulary: OutputVocabulary | None = None,
    statistics: bool = False,
    notes: tuple[str, ...] = (),
    doubts: tuple[str, ...] = (),
) -> MergePlan:
    """Plan a merge of models that fit each other: every check that reads no weight is made here."""
    named: dict[str, Checkpoint] = {}
    if fitted.tails and statistics:
        raise RecipeError("statistics are about equal vocabularies: merge adapters with new tokens without")
    wanted = from_recipe(
        recipe,
        fitted.models,
        dtype,
        candidates,
        kept=fitted.kept,
        tails=fitted.tails,
        statistics=statistics,
        opened=named,
        vocabulary=vocabulary,
    )
    return build_plan(
        [*fitted.models.values(), *named.values()],
        wanted,
        _metadata(recipe, fitted.models[recipe.donor], candidates),
        recipe.rule,
        parse_bytes(shard_size),
        side_files,
        (*notes, *fitted.notes),
        doubts,
        fitted.config,
    )


def _template(recipe: Recipe, models: Mapping[ModelRef, Checkpoint]) -> tuple[str | None, tuple[str, ...]]:
    # What chat template is written in place of the donor's, and what to tell of it.
    if recipe.chat_template != AUTO:
        return recipe.chat_template, ()
    text, note = most_common_template(models.values())
    return text, (note,)


def float_dtype(text: str | None) -> str | None:
    """Return the safetensors name of the float type that is asked for; `RecipeError` if it is none."""
    if text is None:
        return None
    dtype = parse_dtype(text)
    if dtype not in MERGEABLE:
        raise RecipeError(
            f"dtype {text!r} cannot hold a merged model; wanted float64, float32, float16 or bfloat16"
        )
    return dtype


def _metadata(recipe: Recipe, donor: Checkpoint, candidates: Candidates | None) -> dict[str, dict[str, str]]:
    text = json.dumps(recipe.to_dict())
    if candidates is None:
        return {"": _notes(donor, {"m2m.recipe": text})}
    return {
        name: _notes(donor, {"m2m.recipe": text, "m2m.weights": json.dumps(list(map(float, weights)))})
        for name, weights in candidates.items()
    }


def _notes(donor: Checkpoint, notes: Mapping[str, str]) -> dict[str, str]:
    tied = {TIED_KEY: json.dumps(donor.tied)} if donor.tied else {}
    return {"format": "pt", **notes, **tied}
