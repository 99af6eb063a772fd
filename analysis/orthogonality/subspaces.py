"""Principal angles between the subspaces in which task vectors change a weight matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint, TensorInfo
from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import MERGEABLE

MatrixSide = Literal["output", "input"]

#: Columns beyond the rank that is wanted, and power steps (Halko et al., 2011, section 4).
_OVERSAMPLING = 8
_POWER_STEPS = 2
#: Elements of one expert that are in memory at a time.
_BLOCK = 2**22


@dataclass(frozen=True)
class Angles:
    """How the leading singular subspaces of two task vectors lie to each other, on one matrix.

    Attributes:
        tensor: The matrix's name.
        side: `output` for left singular vectors (rows of the weight), `input` for right ones.
        pair: Numbers of the two experts.
        cosines: Cosines of the principal angles, descending. [k]
        overlap: Mean squared cosine: 0 for orthogonal subspaces, 1 for the same.
        chance: The mean overlap of two random subspaces of this size, k / dimension.
        energy: Least of the two shares of ‖τ‖² that the subspaces hold.
    """

    tensor: str
    side: MatrixSide
    pair: tuple[int, int]
    cosines: tuple[float, ...]
    overlap: float
    chance: float
    energy: float


@dataclass(frozen=True)
class _Leading:
    left: Tensor  # [rows, k]
    right: Tensor  # [columns, k]
    energy: float


def subspace_angles(
    base: Checkpoint, experts: Sequence[Checkpoint], rank: int, *, seed: int = 0
) -> Iterator[Angles]:
    """Compare the leading singular subspaces of the experts' task vectors, matrix by matrix.

    A matrix is read in blocks of rows, as often as the randomised singular value decomposition needs it
    (Halko, Martinsson and Tropp, 2011, algorithm 4.4). Held at a time: N (rows + columns)(rank + 8) float32
    numbers and one block.

    Args:
        base: The base model.
        experts: The experts. [N]
        rank: k, dimensions of the subspaces; less where a matrix has fewer rows or columns.
        seed: Seed of the random starts.

    Yields:
        Angles: Output side, then input side, of every pair that moved, for every matrix.
    """
    for info in base.tensors.values():
        if info.dtype not in MERGEABLE or len(info.shape) != 2 or min(info.shape) < 2:
            continue
        generator = torch.Generator().manual_seed(seed)
        k = min(rank, *info.shape)
        start = torch.randn(info.shape[1], min(k + _OVERSAMPLING, *info.shape), generator=generator)
        leading = [_leading(_blocks(base, expert, info.name), info.shape[0], start, k) for expert in experts]
        yield from _compare(info.name, leading, info.shape, k)


def principal_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosines of the principal angles between two subspaces (Björck and Golub, 1973).

    Args:
        first: An orthonormal basis. [D, k]
        second: Another of the same size. [D, k]

    Returns:
        The cosines, descending. [k]
    """
    values: Tensor = torch.linalg.svdvals(first.T @ second)
    return values.clamp(max=1)


def _compare(
    name: str, leading: Sequence[_Leading | None], shape: tuple[int, ...], k: int
) -> Iterator[Angles]:
    for i, j in combinations(range(len(leading)), 2):
        first, second = leading[i], leading[j]
        if first is None or second is None:
            continue
        energy = min(first.energy, second.energy)
        sides: tuple[tuple[MatrixSide, Tensor, Tensor, int], ...] = (
            ("output", first.left, second.left, shape[0]),
            ("input", first.right, second.right, shape[1]),
        )
        for side, one, other, dimension in sides:
            cosines = principal_cosines(one, other)
            overlap = float(cosines.square().mean())
            yield Angles(name, side, (i, j), tuple(cosines.tolist()), overlap, k / dimension, energy)


#: Goes over a matrix again from its first row: number of the first row, rows. [rows, columns]
Blocks = Callable[[], Iterator[tuple[int, Tensor]]]


def _blocks(base: Checkpoint, expert: Checkpoint, name: str) -> Blocks:
    before, after = base.tensors[name], expert.tensors[name]
    rows, columns = before.shape
    step = max(1, _BLOCK // columns)

    def block(first: int) -> tuple[int, Tensor]:
        count = min(step, rows - first)
        return first, _moved(_rows(before, first, count), _rows(after, first, count))

    if rows <= step:
        only = block(0)
        return lambda: iter([only])
    return lambda: (block(first) for first in range(0, rows, step))


def _rows(info: TensorInfo, first: int, count: int) -> Tensor:
    row = info.nbytes // info.shape[0]
    return read_tensor(
        info._replace(shape=(count, info.shape[1]), offset=info.offset + first * row, nbytes=count * row)
    )


def _moved(before: Tensor, after: Tensor) -> Tensor:
    # In the type that task vectors are rounded to, as everywhere.
    wide = torch.float64 if torch.float64 in (before.dtype, after.dtype) else torch.float32
    return (after.to(wide) - before.to(wide)).float()


def _leading(blocks: Blocks, rows: int, start: Tensor, k: int) -> _Leading | None:
    basis = start
    for _ in range(_POWER_STEPS):
        left = torch.linalg.qr(_times(blocks, rows, basis))[0]
        basis = torch.linalg.qr(_transposed_times(blocks, left, len(start)))[0]
    left = torch.linalg.qr(_times(blocks, rows, basis))[0]
    u, values, v = torch.linalg.svd(_transposed_times(blocks, left, len(start)), full_matrices=False)
    total = sum(float(block.double().square().sum()) for _, block in blocks())
    if total == 0:
        return None
    energy = float(values[:k].double().square().sum()) / total
    return _Leading(left @ v.T[:, :k], u[:, :k], min(energy, 1.0))


def _times(blocks: Blocks, rows: int, right: Tensor) -> Tensor:
    out = torch.empty(rows, right.shape[1])
    for first, block in blocks():
        out[first : first + len(block)] = block @ right
    return out


def _transposed_times(blocks: Blocks, left: Tensor, columns: int) -> Tensor:
    out = torch.zeros(columns, left.shape[1])
    for first, block in blocks():
        out += block.T @ left[first : first + len(block)]
    return out
