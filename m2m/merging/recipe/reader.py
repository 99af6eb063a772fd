"""From a recipe's plain data to a checked `Recipe`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from m2m.errors import RecipeError
from m2m.merging import methods
from m2m.merging.chat_template import read_chat_template
from m2m.merging.methods.spec import Method
from m2m.merging.recipe.keys import as_list, as_mapping, check_keys
from m2m.merging.recipe.models import ModelRef, read_model
from m2m.merging.recipe.recipe import Expert, Level, Recipe, Slice
from m2m.merging.recipe.settings import read_setting
from m2m.merging.recipe.tokens import read_tokenizer_setting
from m2m.support.schema import closest

_TOP = (
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "m2m",
)
_DTYPES = ("float16", "bfloat16", "float32", "float64")


def load(source: Path | str | Mapping[str, Any]) -> Recipe:
    """Read a mergekit YAML file, or the same as a mapping; RecipeError says what is wrong where."""
    if isinstance(source, Mapping):
        return read_recipe(source)
    from m2m.merging.recipe.document import read_yaml

    data = read_yaml(Path(source), _TOP)
    try:
        return read_recipe(data)
    except RecipeError as error:
        raise RecipeError(f"{source}: {error}") from None


def read_recipe(data: Mapping[str, Any]) -> Recipe:
    """Check a recipe's plain data, as read from YAML."""
    data = {key: value for key, value in data.items() if not str(key).startswith("x-")}
    check_keys(data, _TOP, "")
    if not isinstance(data.get("merge_method"), str):
        raise RecipeError(f"merge_method must name a merge method, got {data.get('merge_method')!r}")
    if sum(data.get(key) is not None for key in ("models", "slices", "modules")) != 1:
        raise RecipeError("exactly one of models, slices and modules must be there")
    reader = _Reader(methods.get(data["merge_method"]), data)
    recipe = Recipe(
        method=data["merge_method"],
        slices=reader.slices(),
        base=reader.base,
        parameters=reader.level(data.get("parameters"), "parameters", shared=True),
        dtype=_dtype(data, "dtype"),
        out_dtype=_dtype(data, "out_dtype"),
        tokenizer=read_tokenizer_setting(data),
        chat_template=read_chat_template(data.get("chat_template")),
        notes=tuple(reader.notes),
        written=_plain(data),
        **_extensions(data.get("m2m")),
    )
    _check_values(recipe)
    return recipe


class _Reader:
    """Reads slices and parameters; knows the method, gathers notes."""

    def __init__(self, method: Method, data: Mapping[str, Any]) -> None:
        self.method = method
        self.data = data
        self.notes: list[str] = []
        self.base = None if data.get("base_model") is None else read_model(data["base_model"], "base_model")
        if method.base == "required" and self.base is None and data.get("models") is not None:
            raise RecipeError(f"{method.name} needs a base_model")

    def level(self, value: object, where: str, *, shared: bool) -> Level:
        # Shared parameters may stand at every level but that of a single model.
        table = as_mapping(value, where)
        own = {parameter.name for parameter in self.method.parameters}
        others = {parameter.name for method in methods.METHODS.values() for parameter in method.parameters}
        near = any(closest(str(name), own | others) for name in table if name not in own | others)
        check_keys(table, own | others if near else own | others.intersection(table), where)
        level = {}
        for name, setting in table.items():
            if name not in own:  # mergekit reads no parameter that its method does not ask for
                self.notes.append(f"{where}.{name} has no effect on {self.method.name}")
                continue
            parameter, place = self.method.parameter(name), f"{where}.{name}"
            if setting is None:
                continue
            if parameter.scope == "shared" and not shared:
                raise RecipeError(f"{place} holds for all models: write it under the top-level parameters")
            if not parameter.effect:
                self.notes.append(f"{place} has no effect on {self.method.name}")
            level[name] = read_setting(parameter, setting, place)
        return level

    def slices(self) -> tuple[Slice, ...]:
        if self.data.get("modules") is None:
            return self._read_module(self.data, "")
        modules = as_mapping(self.data["modules"], "modules")
        if not modules:
            raise RecipeError("modules must name at least one module")
        return tuple(
            replace(part, module=str(name), module_parameters=level)
            for name, value in modules.items()
            for level, parts in [self._read_named_module(value, f"modules.{name}")]
            for part in parts
        )

    def _read_named_module(self, value: object, where: str) -> tuple[Level, tuple[Slice, ...]]:
        table = as_mapping(value, where)
        check_keys(table, ("models", "slices", "parameters"), where)
        if (table.get("models") is None) == (table.get("slices") is None):
            raise RecipeError(f"{where}: exactly one of models and slices must be there")
        if self.method.base == "required" and self.base is None and table.get("models") is not None:
            raise RecipeError(f"{where}: {self.method.name} needs a base_model")
        level = self.level(table.get("parameters"), f"{where}.parameters", shared=True)
        return level, self._read_module(table, f"{where}.")

    def _read_module(self, table: Mapping[str, Any], before: str) -> tuple[Slice, ...]:
        models, slices = f"{before}models", f"{before}slices"
        if table.get("models") is not None:
            entries = as_list(table["models"], models)
            sources = [self._source(entry, f"{models}[{i}]", sliced=False) for i, entry in enumerate(entries)]
            return (self._slice(sources, self.base, {}, models),)
        return tuple(
            self._read_slice(entry, f"{slices}[{i}]")
            for i, entry in enumerate(as_list(table["slices"], slices))
        )

    def _read_slice(self, value: object, where: str) -> Slice:
        table = as_mapping(value, where)
        check_keys(table, ("sources", "base_model", "parameters", "residual_weight"), where)
        residual = table.get("residual_weight")
        if not isinstance(residual, int | float | None):
            raise RecipeError(f"{where}.residual_weight must be a number, got {residual!r}")
        if residual is not None:
            self.notes.append(f"{where}.residual_weight has no effect, as in mergekit, which never reads it")
        entries = as_list(table.get("sources"), f"{where}.sources")
        sources = [
            self._source(entry, f"{where}.sources[{i}]", sliced=True) for i, entry in enumerate(entries)
        ]
        lengths = {source.layers[1] - source.layers[0] for source in sources if source.layers}
        if len(lengths) != 1:
            raise RecipeError(f"{where}: the sources have different numbers of layers {sorted(lengths)}")
        own = table.get("base_model")
        base = self.base if own is None else read_model(own, f"{where}.base_model")
        if self.method.base == "required" and base is None:
            raise RecipeError(f"{where}: {self.method.name} needs a base_model")
        return self._slice(
            sources, base, self.level(table.get("parameters"), f"{where}.parameters", shared=True), where
        )

    def _source(self, value: object, where: str, *, sliced: bool) -> Expert:
        table = as_mapping(value, where)
        check_keys(table, ("model", "parameters", *(["layer_range"] if sliced else [])), where)
        if table.get("model") is None:
            raise RecipeError(f"{where} names no model")
        layers = _layer_range(table.get("layer_range"), f"{where}.layer_range") if sliced else None
        parameters = self.level(table.get("parameters"), f"{where}.parameters", shared=False)
        return Expert(read_model(table["model"], f"{where}.model"), layers, parameters)

    def _slice(self, sources: list[Expert], base: ModelRef | None, level: Level, where: str) -> Slice:
        # Where the method uses the base model as the origin, it is no expert, even if it is listed among
        # them.
        if self.method.base == "ignored" or base is None:
            return self._counted(Slice(tuple(sources), parameters=level), where)
        own = [source for source in sources if source.model == base]
        if any(source.parameters for source in own):
            self.notes.append(
                f"{where}: parameters of the base model {base} have no effect on {self.method.name}"
            )
        if not own and any(source.layers for source in sources):
            raise RecipeError(
                f"{where}: the base model {base} must be one of the sources, with its layer_range"
            )
        experts = tuple(source for source in sources if source.model != base)
        return self._counted(Slice(experts, base, own[0].layers if own else None, level), where)

    def _counted(self, part: Slice, where: str) -> Slice:
        least, most, count = self.method.least, self.method.most, len(part.experts)
        if count < least or (most is not None and count > most):
            wanted = (
                f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
            )
            beside = " besides the base model" if part.base else ""
            raise RecipeError(f"{where}: {self.method.name} takes {wanted} models{beside}, got {count}")
        return part


def _layer_range(value: object, where: str) -> tuple[int, int]:
    whole = isinstance(value, list | tuple) and len(value) == 2 and all(type(end) is int for end in value)
    if not whole or not 0 <= value[0] < value[1]:  # type: ignore[index]
        raise RecipeError(f"{where} must be [start, end] with 0 <= start < end, got {value!r}")
    return value[0], value[1]  # type: ignore[index]


def _dtype(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is None:
        return None
    name = value.removeprefix("torch.") if isinstance(value, str) else value
    if name not in _DTYPES:
        raise RecipeError(f"{key} must be one of {', '.join(_DTYPES)}, got {value!r}")
    return str(name)


def _extensions(value: object) -> dict[str, Any]:
    table = as_mapping(value, "m2m")
    check_keys(table, ("definition", "seed", "allow_nonfinite", "exclude", "fill_missing"), "m2m")
    definition = table.get("definition", "paper")
    seed, allow = table.get("seed", 0), table.get("allow_nonfinite", False)
    if definition not in ("paper", "mergekit"):
        raise RecipeError(f"m2m.definition must be paper or mergekit, got {definition!r}")
    if type(seed) is not int or seed < 0:
        raise RecipeError(f"m2m.seed must be a whole number, 0 or more, got {seed!r}")
    if not isinstance(allow, bool):
        raise RecipeError(f"m2m.allow_nonfinite must be true or false, got {allow!r}")
    exclude, fill = table.get("exclude", []), table.get("fill_missing")
    if not isinstance(exclude, list) or not all(isinstance(glob, str) for glob in exclude):
        raise RecipeError(f"m2m.exclude must be a list of globs of tensor names, got {exclude!r}")
    if fill not in (None, "base"):
        raise RecipeError(f"m2m.fill_missing must be base, or be left out, got {fill!r}")
    return {
        "definition": definition,
        "seed": seed,
        "allow_nonfinite": allow,
        "exclude": tuple(exclude),
        "fill_missing": fill == "base",
    }


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    # JSON can hold it, so that it can travel in a checkpoint's metadata.
    try:
        plain: dict[str, Any] = json.loads(json.dumps(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise RecipeError(f"holds something that is not plain data: {error}") from None
    return plain


def _check_values(recipe: Recipe) -> None:
    # Values that do not depend on the tensor are judged now; others when their tensor is planned.
    recipe.check_constants()
