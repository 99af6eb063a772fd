"""Factors of parameters that are fused in the module and stored apart: the experts of a mixture.

PEFT adapts such a parameter [E, out, in] (`target_parameters`) by one A [E·r, in] and one B [out, r·E]:
expert e has rows e·r to (e+1)·r of A, and of B every E-th column from column e on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from m2m.checkpoint.header import TensorInfo
from m2m.checkpoint.layout import Part
from m2m.errors import CheckpointError
from m2m.merging.lora.adapter import Adapter, Factors
from m2m.merging.lora.additions import Addition, Product, first_rows

#: What PEFT puts between a module and its factors where it adapts several parameters of one module.
_WRAPPED = ".base_layer"


@dataclass(frozen=True)
class FusedFactors:
    """Factors of one fused parameter."""

    #: A and B of all experts.
    factors: Factors
    #: What is stored of the parameter: a matrix of one expert each.
    parts: Sequence[Part]
    #: Number of experts E.
    experts: int

    def additions(self, stored: Mapping[str, TensorInfo]) -> dict[str, Addition]:
        """What is added to each stored tensor, by its name."""
        return {part.stored: self._addition(part, stored[part.stored]) for part in self.parts}

    def _addition(self, part: Part, stored: TensorInfo) -> Addition:
        expert, row, _ = part.start
        rank = self.factors.rank // self.experts
        left = first_rows(self.factors.b, part.shape[1], row)
        right = first_rows(self.factors.a, rank, expert * rank)
        product = Product(part.stored, stored.shape, left, right, False, expert, self.experts)
        return Addition(product, self.factors.scale)


def fused_factors(adapter: Adapter, parts: Sequence[Part]) -> dict[str, FusedFactors]:
    """Find the factors of an adapter that are those of fused parameters.

    Args:
        adapter: The adapter.
        parts: What of the base model's stored tensors makes up its module's, in the module's order.

    Returns:
        Them by the name that the adapter gives their module.

    Raises:
        CheckpointError: If a parameter is not stored as a matrix of outputs and inputs for each expert, or
            its factors are of other shapes.
    """
    by_parameter: dict[str, list[Part]] = {}
    for part in parts:
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
            found[name] = _fused(adapter, name, by_parameter[target])
    return found


def _of_parameters(adapter: Adapter) -> list[str]:
    config = adapter.config
    if not config.parameters:
        return []
    holders = tuple(name.rpartition(".")[0] for name in config.parameters)
    return [name for name in adapter.factors if name.replace(_WRAPPED, "").endswith(holders)]


def _fused(adapter: Adapter, name: str, parts: Sequence[Part]) -> FusedFactors:
    factors = adapter.factors[name]
    got, rank = (factors.b.shape[0], factors.a.shape[1]), adapter.config.rank_of(name)
    if not all(len(part.shape) == 3 and part.shape[0] == 1 and part.start[2] == 0 for part in parts):
        raise CheckpointError(
            f"{adapter.file}: {name!r} adapts {parts[0].target!r}, of which the base model does not store a "
            "matrix [out, in] for each expert; merge it with PEFT first"
        )
    experts = 1 + max(part.start[0] for part in parts)
    wanted = max(part.start[1] + part.shape[1] for part in parts), max(part.shape[2] for part in parts)
    if got != wanted or factors.rank != experts * rank:
        raise CheckpointError(
            f"{adapter.file}: {name!r} has B·A of {list(got)} and {factors.rank} rows of A; wanted "
            f"{list(wanted)} and {rank} rows for each of {experts} experts"
        )
    return FusedFactors(factors, parts, experts)
