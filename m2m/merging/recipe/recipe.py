"""Merge recipes: what to merge and how, as data.

Reads mergekit's YAML as it is; nothing in it is ever ignored in silence.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from m2m.errors import RecipeError
from m2m.merging import methods
from m2m.merging.methods.parameters import Settings, Value
from m2m.merging.methods.spec import Method
from m2m.merging.recipe.layers import Layer, OutputTensor, lay_out
from m2m.merging.recipe.models import ModelRef
from m2m.merging.recipe.modules import split_modules
from m2m.merging.recipe.settings import Setting
from m2m.merging.recipe.tokens import TokenizerSetting

#: Settings by parameter name, at one level of the recipe.
Level = Mapping[str, Setting]


@dataclass(frozen=True)
class Expert:
    """One expert of a slice."""

    #: Where it is.
    model: ModelRef
    #: `[start, end)` of its layers; None takes all.
    layers: tuple[int, int] | None = None
    #: Settings that hold for it alone.
    parameters: Level = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """A run of output layers and what it is merged from; whole models, or modules of them, are one slice."""

    #: The N experts, in the recipe's order, the base model left out where the method uses it as such. [N]
    experts: tuple[Expert, ...]
    #: The base model the method uses, None if it uses none.
    base: ModelRef | None = None
    #: `[start, end)` of the base model's layers; None takes all.
    base_layers: tuple[int, int] | None = None
    #: Settings that hold for the slice.
    parameters: Level = field(default_factory=dict)
    #: The module it is a part of, where the recipe has modules.
    module: str | None = None
    #: Settings that hold for that module.
    module_parameters: Level = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[ModelRef, ...]:
        """The models a tensor is read from: the base model first, if there is one, then the experts."""
        return (*([self.base] if self.base else []), *(expert.model for expert in self.experts))

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Layer ranges of the inputs; empty in a recipe of whole models."""
        ranges = [*([self.base_layers] if self.base else []), *(expert.layers for expert in self.experts)]
        return [layers for layers in ranges if layers is not None]


@dataclass(frozen=True)
class Recipe:
    """A checked merge recipe.

    Attributes:
        method: Name of the merge method.
        slices: One for a recipe of whole models, else one a slice; those of a module follow each other.
        base: The recipe's base model: origin of the task vectors where the method has one, and donor of side
            files.
        parameters: Settings that hold everywhere.
        dtype: Working type mergekit would cast to (`float32`, ...); m2m always works in the accumulation
            type, so this is the output type when `out_dtype` is None.
        out_dtype: Output type; None leaves it to `dtype`, then to the inputs.
        tokenizer: What the output's vocabulary is; None for the donor's, rows as they are.
        chat_template: A Jinja template to write, `auto` for the inputs' most common one, None for the
            donor's.
        definition: `paper`, or `mergekit` where that differs from the paper.
        seed: Seed of the random methods.
        allow_nonfinite: Whether NaN and infinity may pass through.
        exclude: Globs of tensor names that are not merged: the donor's are kept.
        fill_missing: Whether what a model lacks is the donor's.
        notes: What the recipe says without effect, for the user to read.
        written: The recipe as it was read, plain data.
    """

    method: str
    slices: tuple[Slice, ...]
    base: ModelRef | None = None
    parameters: Level = field(default_factory=dict)
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: TokenizerSetting | None = None
    chat_template: str | None = None
    definition: Literal["paper", "mergekit"] = "paper"
    seed: int = 0
    allow_nonfinite: bool = False
    exclude: tuple[str, ...] = ()
    fill_missing: bool = False
    notes: tuple[str, ...] = ()
    written: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def rule(self) -> Method:
        """The merge method."""
        return methods.get(self.method)

    @cached_property
    def models(self) -> tuple[ModelRef, ...]:
        """The experts in the recipe's order; with slices, each model once."""
        if len(self.slices) == 1:
            return tuple(expert.model for expert in self.slices[0].experts)
        return tuple(dict.fromkeys(expert.model for part in self.slices for expert in part.experts))

    @property
    def donor(self) -> ModelRef:
        """The model whose config and other side files travel along: the base model, else the first expert."""
        return self.base or self.models[0]

    @property
    def averages(self) -> bool:
        """Whether a tensor of the result is made of several models'; where not, layers are stacked."""
        return any(len(part.inputs) > 1 for part in self.slices)

    @cached_property
    def modules(self) -> Mapping[str | None, Sequence[Slice]]:
        """The slices by module; all under None where the recipe has no modules."""
        found: dict[str | None, list[Slice]] = {}
        for part in self.slices:
            found.setdefault(part.module, []).append(part)
        return found

    def outputs(self, names: Sequence[str]) -> list[OutputTensor]:
        """The output tensors, by the donor's names; names of inputs are in the order of `Slice.inputs`."""
        if None in self.modules:
            return lay_out(names, [part.ranges for part in self.slices], len(self.slices[0].inputs))
        found: list[OutputTensor] = []
        of_module, first = self._split(names), 0
        for module, parts in self.modules.items():
            own = lay_out(of_module[str(module)], [part.ranges for part in parts], len(parts[0].inputs))
            found += [output._replace(slice_index=output.slice_index + first) for output in own]
            first += len(parts)
        return found

    def left_out(self, names: Sequence[str]) -> list[str]:
        """The tensors that no module of the recipe takes."""
        if None in self.modules:
            return []
        taken = {name for own in self._split(names).values() for name in own}
        return [name for name in names if name not in taken]

    def _split(self, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return split_modules(names, map(str, self.modules))

    @cached_property
    def stacked(self) -> Mapping[str | None, Sequence[int]]:
        """For each module whose layers are stacked: the layer of its first source that each one is."""
        return {
            module: [layer for part in parts for layer in range(*part.ranges[0])]
            for module, parts in self.modules.items()
            if parts[0].ranges
        }

    def parameter(
        self, name: str, model: int | None, tensor: str, layer: Layer | None = None, slice_index: int = 0
    ) -> Value | None:
        """Resolve one parameter for one tensor: expert before slice, module, recipe and default."""
        # `model` is the expert's position in the slice, None for a shared parameter; without a layer,
        # gradients give their first value. RecipeError if it is required and no entry covers this tensor.
        part = self.slices[slice_index]
        own = {} if model is None else part.experts[model].parameters
        for level in (own, part.parameters, part.module_parameters, self.parameters):
            if name in level:
                value = level[name].at(tensor, layer.t if layer else 0.0)
                if value is not None:
                    return value
        parameter = self.rule.parameter(name)
        if parameter.required:
            whose = "" if model is None else f" of model {part.experts[model].model}"
            raise RecipeError(f"no value for parameter {name}{whose} covers tensor {tensor}")
        return parameter.default

    def settings(self, tensor: str, layer: Layer | None = None, slice_index: int = 0) -> Settings:
        """Resolve and check all parameters for one tensor."""
        constant = self._constant.get(slice_index)
        if constant is not None:
            return replace(constant, tensor=tensor)
        return self._resolve(tensor, layer, slice_index)

    @cached_property
    def _constant(self) -> dict[int, Settings]:
        # Settings of the slices in which nothing depends on the tensor: resolved and checked once.
        found = {}
        for number, part in enumerate(self.slices):
            levels = [self.parameters, part.module_parameters, part.parameters]
            levels += [expert.parameters for expert in part.experts]
            if all(setting.is_constant for level in levels for setting in level.values()):
                found[number] = self._resolve("(all tensors)", None, number)
        return found

    def _resolve(self, tensor: str, layer: Layer | None, slice_index: int) -> Settings:
        count = len(self.slices[slice_index].experts)
        shared: dict[str, Value] = {}
        each: list[dict[str, Value]] = [{} for _ in range(count)]
        for parameter in self.rule.parameters:
            rows: list[tuple[int | None, dict[str, Value]]] = [(None, shared)]
            if parameter.scope == "model":
                rows = list(enumerate(each))
            for model, row in rows:
                value = self.parameter(parameter.name, model, tensor, layer, slice_index)
                if value is not None:
                    row[parameter.name] = value
        settings = Settings(shared, each, tensor, self.seed, self.definition)
        self.rule.check(settings)
        return settings

    def is_constant(self, slice_index: int) -> bool:
        """Whether nothing in a slice depends on a tensor's name or layer."""
        return slice_index in self._constant

    def check_constants(self) -> None:
        """Check all settings that do not depend on a tensor."""
        _ = self._constant

    def to_dict(self) -> dict[str, Any]:
        """A copy of what was read, which `load` reads back."""
        return copy.deepcopy(dict(self.written))

    @cached_property
    def hash(self) -> str:
        """Content hash (16 hex digits) of everything the recipe says."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
