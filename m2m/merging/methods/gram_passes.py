"""Passes of methods whose merging weights follow from inner products: look, compute weights, write."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from m2m.errors import RecipeError
from m2m.merging.methods.spec import Method
from m2m.merging.methods.weight_passes import NO_BLOCK, merge_pass
from m2m.merging.methods.weights import input_weights
from m2m.merging.plan.tensors import PlannedTensor, WeightBlock
from m2m.merging.stream.window import Window

if TYPE_CHECKING:
    from m2m._core import GramPass, StreamPass

Number = TypeVar("Number")

#: How an ordered sum is cut: into segments of so many elements, each summed in so many lanes.
_SEGMENT, _LANES = 65536, 16
#: A triangle's worth of nothing: origin, first point, points, length, stride.
_NOTHING = (-1, 0, 0, 0, 1)


def gram_passes(method: Method | None, window: Window) -> Iterator[StreamPass]:
    """Look at the inner products of every tensor's points, then write the weighted sums that follow.

    Args:
        method: The method.
        window: The tensors.

    Yields:
        StreamPass: A pass that looks, and one that writes.
    """
    assert method is not None
    assert method.coefficients is not None
    look = look_at_products(window, [_layout(method, tensor) for tensor in window.tensors])
    yield look
    if any(_vectors(method, tensor) is not None for _, tensor in window.merged()):
        yield _vector_merge_pass(method, window, look)
        return
    numbers: list[int] = []
    blocks: list[WeightBlock] = []
    for number, tensor in enumerate(window.tensors, start=window.first):
        numbers.append(NO_BLOCK if tensor.copied else len(blocks))
        if not tensor.copied:
            gram = unpack_triangle(look.triangles(number))
            blocks.append(tuple(tuple(_weights(method, tensor, gram, m)) for m in range(len(tensor.places))))
    yield merge_pass(window, numbers, blocks)


def scratch_bytes(method: Method | None, tensors: Iterable[PlannedTensor]) -> int:
    """Bound the memory of sums along rows or columns, which grows with the number of these.

    Args:
        method: The method.
        tensors: The plan's tensors.

    Returns:
        Bytes a worker; 0 for sums over whole tensors.
    """
    if method is None or method.vectors is None:
        return 0
    return max((_sums(method, tensor) for tensor in tensors if not tensor.copied), default=0)


def _sums(method: Method, tensor: PlannedTensor) -> int:
    axis = _vectors(method, tensor)
    if axis is None:
        return 0
    _, _, points, length, stride = _layout(method, tensor)
    by_columns, vectors = stride > 1, math.prod(tensor.entry.shape) // length
    partial = _LANES if by_columns else 0  # of a segment; rows are summed one after the other
    return vectors * points * (points + 1) // 2 * 8 * (partial + 1 + length // _SEGMENT)


def look_at_products(
    window: Window, layout: Sequence[Sequence[int]], *, counts_signs: bool = False
) -> GramPass:
    """Make the pass that gathers inner products.

    Args:
        window: The tensors.
        layout: For each tensor: number of the source that is subtracted from the points (-1 for none), first
            point, number of points, elements in a vector, and how far apart they lie. [T, 5]
        counts_signs: Whether signs and largest values are gathered too.

    Returns:
        The pass.
    """
    from m2m._core import GramPass

    table = array("q", [number for row in layout for number in row])
    return GramPass(window.core, window.first, layout=table, counts_signs=counts_signs)


def whole_tensor(tensor: PlannedTensor, origin: int, first: int, points: int) -> tuple[int, ...]:
    """Describe a tensor that is one vector, for `look_at_products`.

    Args:
        tensor: The tensor.
        origin: Number of the source that is subtracted from the points; -1 for none.
        first: Number of the first point among the sources.
        points: Number of points.

    Returns:
        Its row of the layout. [5]
    """
    return (origin, first, points, math.prod(tensor.entry.shape), 1)


def unpack_triangle(triangle: Sequence[Number]) -> list[list[Number]]:
    """Turn a lower triangle into the symmetric matrix.

    Args:
        triangle: Rows of the triangle, one after another. [K(K+1)/2]

    Returns:
        The matrix. [K, K]
    """
    points = math.isqrt(2 * len(triangle))
    starts = [i * (i + 1) // 2 for i in range(points)]
    return [[triangle[starts[max(i, j)] + min(i, j)] for j in range(points)] for i in range(points)]


def _on_task_vectors(method: Method, tensor: PlannedTensor) -> bool:
    has_base = len(tensor.sources) > len(tensor.settings[0].each) and tensor.origin == 0
    return method.space == "task vectors" or (method.space == "either" and has_base)


def _vectors(method: Method, tensor: PlannedTensor) -> int | None:
    # Along which axis one vector lies; None if the tensor is one vector.
    axis = method.vectors(tensor.settings[0]) if method.vectors else None
    return None if len(tensor.entry.shape) < 2 or 0 in tensor.entry.shape else axis


def _layout(method: Method, tensor: PlannedTensor) -> tuple[int, ...]:
    if tensor.copied:
        return _NOTHING
    used = _used_sources(tensor)
    origin, first = (0, 1) if _on_task_vectors(method, tensor) else (-1, 0)
    shape, axis = tensor.entry.shape, _vectors(method, tensor)
    if axis is None:
        return whole_tensor(tensor, origin, first, used - first)
    if axis == 0:
        return (origin, first, used - first, shape[0], max(1, math.prod(shape[1:])))
    return (origin, first, used - first, shape[-1], 1)


def _used_sources(tensor: PlannedTensor) -> int:
    # A base model that is read for statistics only comes after those that the method merges.
    return len(tensor.settings[0].each) + (tensor.origin == 0)


def _weights(method: Method, tensor: PlannedTensor, gram: list[list[float]], m: int) -> list[float]:
    assert method.coefficients is not None
    points = method.coefficients(gram, tensor.settings[m])
    weights = input_weights(points, on_task_vectors=_on_task_vectors(method, tensor))
    if not all(map(math.isfinite, weights)):
        raise RecipeError(f"{method.name}: tensor {tensor.entry.name!r} has merging weights {weights}")
    return weights + [0.0] * (len(tensor.sources) - len(weights))


def _vector_merge_pass(method: Method, window: Window, look: GramPass) -> StreamPass:
    from m2m._core import VectorMergePass

    table = []
    for number, tensor in enumerate(window.tensors, start=window.first):
        weights = array("d")
        _, _, points, length, stride = _layout(method, tensor)
        if not tensor.copied:
            size = points * (points + 1) // 2
            triangles = look.triangles(number)
            for start in range(0, len(triangles), size):
                gram = unpack_triangle(triangles[start : start + size])
                for m in range(len(tensor.places)):
                    weights.extend(_weights(method, tensor, gram, m))
        table.append((length, stride, weights))
    return VectorMergePass(window.core, window.first, tensors=table, allow_nonfinite=window.allow_nonfinite)
