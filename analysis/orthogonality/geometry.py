"""Sums over the elements of some tensors, and what follows from them: cosines, norms, signs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np

from m2m.merging.look import TensorLook
from m2m.merging.lora.gram import LoraGram
from m2m.merging.recipe.layers import split_layer
from m2m.support.arrays import Floats

#: Binary digits after the first one of each type.
_DIGITS = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7}
Level = Literal["whole", "layer", "kind", "tensor"]
#: From coarse to fine.
LEVELS: tuple[Level, ...] = ("whole", "layer", "kind", "tensor")
#: Tensors outside all layers (embeddings, final norm, head) are one group of their own.
OUTSIDE = "outside layers"


@dataclass(frozen=True)
class Geometry:
    """Task vectors τ_n on some of the model's elements. What adapters do not tell is None.

    Attributes:
        elements: P.
        gram: ⟨τ_i, τ_j⟩. [N, N]
        squares: Σ_p τ_i[p]² τ_j[p]². [N, N]
        by_tensor: Σ over tensors of ⟨τ_i, τ_j⟩² on each. [N, N]
        tensors: How many tensors they are.
        largest: max |τ_n|. [N]
        same_sign: Elements where both have the same sign, not zero; on the diagonal those not zero. [N, N]
        opposite_sign: Elements where the signs differ, neither is zero. [N, N]
        base_square: ‖θ₀‖².
        moved: Elements of the tensors that were moved at all; the others are frozen. [N]
        base_noise: Σ_p ulp(θ₀[p])²/12 in the type the base is stored in, over tensors that both moved: in a
            frozen one θ_n − θ₀ is exactly 0, and no rounding is in it. [N, N]
        expert_noise: The same in the type that each expert is stored in, over tensors that it moved. [N]
        noise_square: Σ_p of the square of the element's noise, base's and expert's together, likewise. [N]
    """

    elements: int
    gram: Floats
    by_tensor: Floats
    tensors: int
    squares: Floats | None = None
    largest: Floats | None = None
    same_sign: Floats | None = None
    opposite_sign: Floats | None = None
    base_square: float | None = None
    moved: Floats | None = None
    base_noise: Floats | None = None
    expert_noise: Floats | None = None
    noise_square: Floats | None = None

    def __add__(self, other: Geometry) -> Geometry:
        return Geometry(
            elements=self.elements + other.elements,
            gram=self.gram + other.gram,
            by_tensor=self.by_tensor + other.by_tensor,
            tensors=self.tensors + other.tensors,
            squares=_plus(self.squares, other.squares),
            largest=_larger(self.largest, other.largest),
            same_sign=_plus(self.same_sign, other.same_sign),
            opposite_sign=_plus(self.opposite_sign, other.opposite_sign),
            base_square=None if self.base_square is None else self.base_square + (other.base_square or 0.0),
            moved=_plus(self.moved, other.moved),
            base_noise=_plus(self.base_noise, other.base_noise),
            expert_noise=_plus(self.expert_noise, other.expert_noise),
            noise_square=_plus(self.noise_square, other.noise_square),
        )

    @property
    def norms(self) -> Floats:
        """‖τ_n‖. [N]."""
        return np.sqrt(np.diag(self.gram))

    @property
    def cosine(self) -> Floats:
        """Signed cosines; NaN beside a zero task vector. [N, N]."""
        return cosines(self.gram)

    @property
    def norm_ratio(self) -> Floats | None:
        """‖τ_n‖/‖θ₀‖; NaN where the base is zero. [N]."""
        if self.base_square is None:
            return None
        return divide(self.norms, np.sqrt(self.base_square))

    @property
    def zeros(self) -> Floats | None:
        """Share of elements that training left as they were, or that rounding put back. [N]."""
        return None if self.same_sign is None else 1 - divide(np.diag(self.same_sign), self.elements)

    @property
    def zeros_of_moved(self) -> Floats | None:
        """As `zeros`, of the tensors that were moved at all; NaN for an expert that moved none. [N]."""
        if self.same_sign is None or self.moved is None:
            return None
        return 1 - divide(np.diag(self.same_sign), self.moved)

    @property
    def sign_agreement(self) -> Floats | None:
        """Same / (same + opposite); NaN where there are no two signs to compare. [N, N]."""
        if self.same_sign is None or self.opposite_sign is None:
            return None
        return divide(self.same_sign, self.same_sign + self.opposite_sign)


def of_look(look: TensorLook) -> Geometry:
    """Take the sums of one tensor from what the engine found in it."""
    gram = np.array(look.gram)
    same = np.array(look.same_sign, dtype=np.float64)
    moved = (np.diag(same) > 0).astype(np.float64)
    noise = look.ulp_square / 12
    finer = np.array([4.0 ** (_DIGITS[look.base_dtype] - _DIGITS[dtype]) for dtype in look.expert_dtypes])
    return Geometry(
        elements=look.elements,
        gram=gram,
        by_tensor=gram**2,
        tensors=1,
        squares=np.array(look.squares),
        largest=np.array(look.largest),
        same_sign=same,
        opposite_sign=np.array(look.opposite_sign, dtype=np.float64),
        base_square=look.base_square,
        moved=look.elements * moved,
        base_noise=noise * np.outer(moved, moved),
        expert_noise=noise * finer * moved,
        noise_square=look.ulp_fourth / 144 * (1 + finer) ** 2 * moved,
    )


def of_adapters(grams: LoraGram, elements: dict[str, int]) -> dict[str, Geometry]:
    """Take the sums that adapters' factors tell, by module; `elements` is each adapted weight's size."""
    return {
        name: Geometry(elements[name], matrix.numpy(), matrix.numpy() ** 2, tensors=1)
        for name, matrix in grams.modules.items()
    }


def together(parts: Iterable[Geometry]) -> Geometry:
    """Add sums over different elements."""
    return reduce(Geometry.__add__, parts)


def cosines(gram: Floats) -> Floats:
    """Turn a Gram matrix into signed cosines, NaN beside a vector without a positive norm. [N, N]."""
    square = np.diag(gram)
    norms = np.sqrt(np.where(square > 0, square, np.nan))
    found = gram / norms[:, None] / norms[None, :]
    np.fill_diagonal(found, np.where(square > 0, 1.0, np.nan))
    return np.clip(found, -1, 1)


def divide(numerator: Floats, denominator: Floats | float) -> Floats:
    """Divide, with NaN for what is divided by zero. [...]."""
    bottom = np.asarray(denominator, dtype=np.float64)
    return np.asarray(numerator / np.where(bottom == 0, np.nan, bottom))


def _larger(first: Floats | None, second: Floats | None) -> Floats | None:
    return None if first is None or second is None else np.maximum(first, second)


def _plus(first: Floats | None, second: Floats | None) -> Floats | None:
    return None if first is None or second is None else first + second


def layer_of(tensor: str) -> str:
    """Name the layer a tensor is in, as in its name (`model.layers.7`), or `outside layers`."""
    parts = split_layer(tensor)
    return OUTSIDE if parts is None else f"{parts[0]}{parts[1]}"


def kind_of(tensor: str) -> str:
    """Name what a tensor is in its layer (`self_attn.q_proj.weight`), further numbers as `*`."""
    parts = split_layer(tensor)
    rest = tensor if parts is None else parts[2].lstrip(".") or tensor
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", rest)


def group(tensors: Mapping[str, Geometry]) -> dict[Level, dict[str, Geometry]]:
    """Add tensors up, in the model's order: sums by level and name."""
    groups: dict[Level, dict[str, list[Geometry]]] = {level: {} for level in LEVELS}
    for name, geometry in tensors.items():
        keys = {"whole": "whole", "layer": layer_of(name), "kind": kind_of(name), "tensor": name}
        for level in LEVELS:
            groups[level].setdefault(keys[level], []).append(geometry)
    return {
        level: {name: together(parts) for name, parts in named.items()} for level, named in groups.items()
    }
