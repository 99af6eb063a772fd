"""Factors of parameters that are fused in the module: experts of a mixture, stored apart or in one tensor.

PEFT adapts such a parameter [E, out, in] (`target_parameters`) by one A [E·r, in] and one B [out, r·E]:
expert e has rows e·r to (e+1)·r of A, and of B every E-th column from column e on. Modules that say that they
are transposed (gpt-oss) hold [E, in, out].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from m2m.checkpoint.header import TensorInfo
from m2m.checkpoint.layout import Part
from m2m.errors import CheckpointError
from m2m.merging.lora.adapter import Adapter, Factors
from m2m.merging.lora.additions import Addition, Product, StackedProduct, first_rows
from m2m.merging.lora.module_names import ModuleParts

#: What PEFT puts between a module and its factors where it adapts several parameters of one module.
_WRAPPED = ".base_layer"


@dataclass(frozen=True)
class FusedFactors:
    """Factors of one fused parameter."""

    #: A and B of all experts.
    factors: Factors
    #: What is stored of the parameter: matrices of one expert each, or stacks of them.
    parts: Sequence[Part]
    #: Number of experts E.
    experts: int
    #: Whether they are held as [in, out].
    transposed: bool

    def additions(self, stored: Mapping[str, TensorInfo]) -> dict[str, Addition]:
        """What is added to each stored tensor, by its name."""
        return {part.stored: self._addition(part, stored[part.stored]) for part in self.parts}

    def _addition(self, part: Part, stored: TensorInfo) -> Addition:
        first, row, _ = part.start
        if len(stored.shape) == 2:
            return Addition(self._product(part, first, row), self.factors.scale)
        products = [self._product(part, first + at, row) for at in range(part.shape[0])]
        return Addition(StackedProduct(part.stored, tuple(products)), self.factors.scale)

    def _product(self, part: Part, expert: int, row: int) -> Product:
        rank = self.factors.rank // self.experts
        a, b = first_rows(self.factors.a, rank, expert * rank), self.factors.b
        left, right = (a, b) if self.transposed else (first_rows(b, part.shape[1], row), a)
        return Product(part.stored, part.shape[1:], left, right, self.transposed, expert, self.experts)


def fused_factors(adapter: Adapter, module_parts: ModuleParts) -> dict[str, FusedFactors]:
    """Find the factors of an adapter that are those of fused parameters.

    Args:
        adapter: The adapter.
        module_parts: What of the base model's stored tensors makes up its module's.

    Returns:
        Them by the name that the adapter gives their module.

    Raises:
        CheckpointError: If a parameter is not stored as matrices of its experts, or its factors are of other
            shapes.
    """
    by_parameter: dict[str, list[Part]] = {}
    for part in module_parts.parts:
        if part.target.endswith(adapter.config.parameters or ("\0",)):
            by_parameter.setdefault(part.target, []).append(part)
    found = {}
    for module in {name.replace(_WRAPPED, ""): None for name in _of_parameters(adapter)}:
        # The first parameter is wrapped first, and its factors lie deepest.
        names = [name for name in _of_parameters(adapter) if name.replace(_WRAPPED, "") == module]
        names.sort(key=lambda name: -name.count(_WRAPPED))
        own = [target for target in by_parameter if target.rpartition(".")[0] == module]
        if len(own) != len(names):
            raise CheckpointError(
                f"{adapter.file}: adapts {len(names)} parameters of {module!r} (target_parameters), and of "
                f"{len(own)} is it known which of the base model's tensors they are; merge it with PEFT first"
            )
        for name, target in zip(names, own, strict=True):
            found[name] = _fused(
                adapter, name, by_parameter[target], transposed=module in module_parts.transposed
            )
    return found


def _of_parameters(adapter: Adapter) -> list[str]:
    config = adapter.config
    if not config.parameters:
        return []
    holders = tuple(name.rpartition(".")[0] for name in config.parameters)
    return [name for name in adapter.factors if name.replace(_WRAPPED, "").endswith(holders)]


def _fused(adapter: Adapter, name: str, parts: Sequence[Part], *, transposed: bool) -> FusedFactors:
    factors = adapter.factors[name]
    got, rank = (factors.b.shape[0], factors.a.shape[1]), adapter.config.rank_of(name)
    whole = len(parts) == 1 and not any(parts[0].start)
    fits = whole if transposed else all(part.start[-1] == 0 for part in parts)
    if not fits or any(len(part.shape) != 3 for part in parts):
        raise CheckpointError(
            f"{adapter.file}: {name!r} adapts {parts[0].target!r}, of which the base model does not store a "
            "matrix for each expert; merge it with PEFT first"
        )
    experts = max(part.start[0] + part.shape[0] for part in parts)
    held = max(part.start[1] + part.shape[1] for part in parts), max(part.shape[2] for part in parts)
    wanted = held[::-1] if transposed else held
    if got != wanted or factors.rank != experts * rank:
        raise CheckpointError(
            f"{adapter.file}: {name!r} has B·A of {list(got)} and {factors.rank} rows of A; wanted "
            f"{list(wanted)} and {rank} rows for each of {experts} experts"
        )
    return FusedFactors(factors, parts, experts, transposed)
