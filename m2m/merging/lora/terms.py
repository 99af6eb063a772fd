"""Sums of models of which some are adapters: what is read, what is formed from factors, with what weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from m2m.checkpoint.checkpoint import Checkpoint, read_tensor
from m2m.checkpoint.header import TensorInfo
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.additions import AdaptedTensor, Addition, Product, StackedProduct, first_rows
from m2m.merging.methods.weighted import input_weights
from m2m.merging.vocabulary.gathered import GatheredTensor

if TYPE_CHECKING:
    from torch import Tensor, dtype

#: What is read of one input of a sum.
_Dense = TensorInfo | AdaptedTensor | GatheredTensor


class Terms(NamedTuple):
    """One tensor of the outputs as a weighted sum."""

    #: Tensors of whole models, each once, and those whose rows an adapter scales (DoRA). [D]
    dense: tuple[_Dense, ...]
    #: What adapters add, expert by expert. [K]
    added: tuple[TensorInfo | Product | StackedProduct, ...]
    #: A row a candidate. [M, D + K]
    weights: tuple[tuple[float, ...], ...]

    def pieces(self) -> Iterator[Terms]:
        """Itself; of a tensor that holds all experts of a mixture the terms of each [1, rows, columns]."""
        stacks = [len(source.products) for source in self.added if isinstance(source, StackedProduct)]
        if not stacks:
            yield self
            return
        for at in range(stacks[0]):
            dense = tuple(_row(source, at) for source in self.dense)
            added = tuple(
                source.products[at] if isinstance(source, StackedProduct) else _row(source, at)
                for source in self.added
            )
            yield Terms(dense, added, self.weights)


def _row(source: Any, at: int) -> Any:
    # No rows of what is stored so are scaled (DoRA) or gathered, and no matrix alone is added to it.
    assert isinstance(source, TensorInfo)
    return first_rows(source, 1, at)


class _Point(NamedTuple):
    # One input: its dense tensor, and what its adapter adds to it.
    dense: _Dense
    addition: Addition | None


def resolve_terms(
    models: Sequence[Checkpoint],
    names: Sequence[str],
    rows: Sequence[Sequence[float]],
    *,
    on_task_vectors: bool,
    dense: Sequence[TensorInfo | GatheredTensor] | None = None,
) -> Terms:
    r"""Write Σ α_n θ_n with θ_n = W_n + s_n B_n A_n as a sum in which no tensor occurs twice.

    On task vectors, an expert on top of the base model is θ₀ + α s BA: its θ₀ cancels exactly, θ₀ keeps

    .. math:: 1 - \sum_{n:\, W_n \ne \theta_0} \alpha_n .

    Weights of experts that share a dense tensor are added, correctly rounded; α·s is rounded once.

    Args:
        models: The inputs, the base model first on task vectors. [K]
        names: The tensor's name in each. [K]
        rows: α of the points, a row a candidate. [M, N]
        on_task_vectors: Whether the points are task vectors.
        dense: What is read of each input, where that is not its own tensor as it is stored. [K]

    Returns:
        The tensor's terms.
    """
    own = dense or [model.tensors[name] for model, name in zip(models, names, strict=True)]
    points = [_point(info, model, name) for info, model, name in zip(own, models, names, strict=True)]
    origin, experts = (points[0].dense, points[1:]) if on_task_vectors else (None, points)
    read = tuple(dict.fromkeys(point.dense for point in points))
    added = tuple(point.addition.source for point in experts if point.addition is not None)
    weights = tuple(_dense_weights(origin, experts, read, row) + _added_weights(experts, row) for row in rows)
    return Terms(read, added, weights)


def merge_adapted(
    experts: Sequence[tuple[Checkpoint, float]],
    name: str,
    *,
    base: Checkpoint | None = None,
    out_dtype: dtype | None = None,
) -> Tensor:
    """Merge one tensor of models of which some are adapters [*shape]."""
    from m2m.merging.methods.exact import sum_inputs

    # The terms (`resolve_terms`) are added by the numeric contract's weighted sum: in float64 where an
    # adapter adds a product, else in the accumulation type of what is read.
    # `experts` are models and merging weights α [N]; with `base` they are those of task vectors.
    models = [*([] if base is None else [base]), *(model for model, _ in experts)]
    row = [weight for _, weight in experts]
    terms = resolve_terms(models, [name] * len(models), [row], on_task_vectors=base is not None)
    tensors = [
        read_tensor(source) if isinstance(source, TensorInfo) else source.form()
        for source in (*terms.dense, *terms.added)
    ]
    out = out_dtype or read_tensor(models[0].tensors[name]).dtype
    return sum_inputs(tensors, terms.weights[0], out)


def _point(info: TensorInfo | GatheredTensor, model: Checkpoint, name: str) -> _Point:
    addition = model.additions.get(name) if isinstance(model, AdaptedCheckpoint) else None
    if addition is None or addition.magnitudes is None:
        return _Point(info, addition)
    assert isinstance(info, TensorInfo)  # what is adapted is not gathered
    return _Point(addition.on(info, "F64"), None)


def _dense_weights(
    origin: _Dense | None,
    experts: Sequence[_Point],
    dense: Sequence[_Dense],
    row: Sequence[float],
) -> tuple[float, ...]:
    shared: dict[_Dense, list[float]] = {info: [] for info in dense}
    for point, weight in zip(experts, row, strict=True):
        shared[point.dense].append(weight)
    weights = {info: math.fsum(parts) for info, parts in shared.items()}
    if origin is not None:
        others = [weight for point, weight in zip(experts, row, strict=True) if point.dense != origin]
        weights[origin] = input_weights(others, on_task_vectors=True)[0]
    return tuple(weights.values())


def _added_weights(experts: Sequence[_Point], row: Sequence[float]) -> tuple[float, ...]:
    return tuple(
        weight * point.addition.scale
        for point, weight in zip(experts, row, strict=True)
        if point.addition is not None
    )
