"""Methods whose merging weights follow from inner products of their points: look, compute weights, write."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeVar

from m2m.errors import RecipeError
from m2m.merging.compiled import GramPass, VectorMergePass
from m2m.merging.methods.parameters import Settings
from m2m.merging.methods.spec import Inputs, Method
from m2m.merging.methods.weighted import NO_BLOCK, input_weights, merge_pass

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.tensors import PlannedTensor, WeightBlock
    from m2m.merging.plan.window import Window

Number = TypeVar("Number")
#: Symmetric matrix of inner products, float64. [K, K]
Gram = Sequence[Sequence[float]]

#: How an ordered sum is cut: into segments of so many elements, each summed in so many lanes.
_SEGMENT, _LANES = 65536, 16


class Points(NamedTuple):
    """Between which vectors of a tensor inner products are taken."""

    #: Number of the source that is subtracted from the points; -1 for none.
    origin: int
    #: Number of the first point among the sources.
    first: int
    #: Number of points K.
    points: int
    #: Elements of a vector.
    length: int
    #: How far apart they lie.
    stride: int

    @classmethod
    def whole(cls, tensor: PlannedTensor, origin: int, first: int, count: int) -> Points:
        """Points of a tensor that is one vector; none of a copied one."""
        return NO_POINTS if tensor.copied else cls(origin, first, count, math.prod(tensor.entry.shape), 1)


NO_POINTS = Points(-1, 0, 0, 0, 1)


def look_at_products(
    window: Window,
    points: Sequence[Points],
    *,
    counts_signs: bool = False,
    squares: bool = False,
    ulps: bool = False,
) -> GramPass:
    """Gather inner products of each tensor's points, and signs, squares, or ulps with them."""
    return GramPass(
        window.core,
        window.first,
        layout=array("q", [number for row in points for number in row]),
        counts_signs=counts_signs,
        squares=squares,
        ulps=ulps,
    )


def unpack_triangle(triangle: Sequence[Number]) -> list[list[Number]]:
    """Turn the rows of a lower triangle [K(K+1)/2] into the symmetric matrix [K, K]."""
    points = math.isqrt(2 * len(triangle))
    starts = [i * (i + 1) // 2 for i in range(points)]
    return [[triangle[starts[max(i, j)] + min(i, j)] for j in range(points)] for i in range(points)]


@dataclass(frozen=True, kw_only=True)
class GramSum(Method):
    """A method whose merging weights follow from parameters and the Gram matrix of its points: two passes.

    Attributes:
        weights: Gram matrix [K, K] and settings to the weights α of the points, in float64. [K] vectors:
        Axis along which one vector lies, from the settings, each vector with weights of its own; None
            takes the whole tensor as one vector.
        rejects: Raises RecipeError for settings that are each in range but make no sense together.
    """

    kind: ClassVar[Literal["gram"]] = "gram"
    weights: Callable[[Gram, Settings], list[float]]
    vectors: Callable[[Settings], int | None] | None = None
    rejects: Callable[[Settings], object] | None = None

    def check(self, settings: Settings) -> None:
        if self.rejects:
            self.rejects(settings)

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        tensors = inputs.all
        with_base = inputs.base is not None
        axis = self._axis(settings, tensors[0].shape)
        if axis is None:
            return self._merge_vector(tensors, settings, out_dtype, with_base=with_base)
        rows = [tensor.movedim(axis, -1) for tensor in tensors]
        shape = rows[0].shape
        flat = [row.reshape(-1, shape[-1]) for row in rows]
        merged = torch.empty(flat[0].shape, dtype=out_dtype)
        for r in range(len(merged)):
            row = [matrix[r] for matrix in flat]
            merged[r] = self._merge_vector(row, settings, out_dtype, with_base=with_base)
        return merged.reshape(shape).movedim(-1, axis).contiguous()

    def _merge_vector(
        self, tensors: Sequence[Tensor], settings: Settings, out_dtype: dtype, *, with_base: bool
    ) -> Tensor:
        from m2m.merging.methods.exact import gram_matrix, sum_inputs, task_vector_type, task_vectors

        on_task_vectors = self.on_task_vectors(with_base=with_base)
        if on_task_vectors:
            points = task_vectors(tensors[0], tensors[1:])
        else:
            points = [tensor.to(task_vector_type(tensors)) for tensor in tensors]
        found = self._of_points(gram_matrix(points), settings)
        weights = input_weights(found, on_task_vectors=on_task_vectors)
        return sum_inputs(tensors, weights, out_dtype)

    def passes(self, window: Window) -> Iterator[StreamPass]:
        look = look_at_products(window, [self._points(tensor) for tensor in window.tensors])
        yield look
        merged = (tensor for _, tensor in window.merged())
        if any(self._axis(tensor.settings[0], tensor.entry.shape) is not None for tensor in merged):
            yield self._vector_merge_pass(window, look)
            return
        numbers: list[int] = []
        blocks: list[WeightBlock] = []
        for number, tensor in enumerate(window.tensors, start=window.first):
            numbers.append(NO_BLOCK if tensor.copied else len(blocks))
            if not tensor.copied:
                gram = unpack_triangle(look.triangles(number))
                blocks.append(tuple(tuple(self._weights(tensor, gram, m)) for m in range(len(tensor.places))))
        yield merge_pass(window, numbers, blocks)

    def scratch_bytes(self, tensors: Iterable[PlannedTensor]) -> int:
        if self.vectors is None:
            return 0
        return max((self._sums_bytes(tensor) for tensor in tensors if not tensor.copied), default=0)

    def _sums_bytes(self, tensor: PlannedTensor) -> int:
        # Sums along rows or columns grow with the number of these.
        axis = self._axis(tensor.settings[0], tensor.entry.shape)
        if axis is None:
            return 0
        points = self._points(tensor)
        by_columns, vectors = points.stride > 1, math.prod(tensor.entry.shape) // points.length
        partial = _LANES if by_columns else 0  # of a segment; rows are summed one after the other
        triangle = points.points * (points.points + 1) // 2
        return vectors * triangle * 8 * (partial + 1 + points.length // _SEGMENT)

    def _axis(self, settings: Settings, shape: Sequence[int]) -> int | None:
        # Along which axis one vector lies; None if the tensor is one vector.
        axis = self.vectors(settings) if self.vectors else None
        return None if len(shape) < 2 or 0 in shape else axis

    def _points(self, tensor: PlannedTensor) -> Points:
        if tensor.copied:
            return NO_POINTS
        # A base model that is read for statistics only comes after those that the method merges.
        used = len(tensor.settings[0].each) + (tensor.origin == 0)
        origin, first = (0, 1) if self._on_its_task_vectors(tensor) else (-1, 0)
        shape, axis = tensor.entry.shape, self._axis(tensor.settings[0], tensor.entry.shape)
        if axis is None:
            return Points.whole(tensor, origin, first, used - first)
        if axis == 0:
            return Points(origin, first, used - first, shape[0], max(1, math.prod(shape[1:])))
        return Points(origin, first, used - first, shape[-1], 1)

    def _on_its_task_vectors(self, tensor: PlannedTensor) -> bool:
        return self.on_task_vectors(with_base=tensor.origin == 0)

    def _of_points(self, gram: Gram, settings: Settings) -> list[float]:
        points = self.weights(gram, settings)
        if len(points) != len(gram):
            raise RecipeError(f"{self.name}: its rule gave {len(points)} weights for {len(gram)} points")
        return points

    def _weights(self, tensor: PlannedTensor, gram: Gram, m: int) -> list[float]:
        points = self._of_points(gram, tensor.settings[m])
        weights = input_weights(points, on_task_vectors=self._on_its_task_vectors(tensor))
        if not all(map(math.isfinite, weights)):
            raise RecipeError(f"{self.name}: tensor {tensor.entry.name!r} has merging weights {weights}")
        return weights + [0.0] * (len(tensor.sources) - len(weights))

    def _vector_merge_pass(self, window: Window, look: GramPass) -> VectorMergePass:
        table = []
        for number, tensor in enumerate(window.tensors, start=window.first):
            weights = array("d")
            points = self._points(tensor)
            if not tensor.copied:
                size = points.points * (points.points + 1) // 2
                triangles = look.triangles(number)
                for start in range(0, len(triangles), size):
                    gram = unpack_triangle(triangles[start : start + size])
                    for m in range(len(tensor.places)):
                        weights.extend(self._weights(tensor, gram, m))
            table.append((points.length, points.stride, weights))
        return VectorMergePass(
            window.core, window.first, tensors=table, allow_nonfinite=window.allow_nonfinite
        )
