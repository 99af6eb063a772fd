"""Which tensors belong together: a layer, a kind of module, the whole model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from analysis.orthogonality.geometry import Geometry, together
from m2m.merging.recipe.layers import split_layer

Level = Literal["whole", "layer", "kind", "tensor"]

#: From coarse to fine.
LEVELS: tuple[Level, ...] = ("whole", "layer", "kind", "tensor")
#: Tensors outside all layers (embeddings, final norm, head) are one group of their own.
OUTSIDE = "outside layers"


def layer_of(tensor: str) -> str:
    """Name the layer a tensor is in.

    Args:
        tensor: The tensor's name.

    Returns:
        Stack and number as in the name (`model.layers.7`), or `outside layers`.
    """
    parts = split_layer(tensor)
    return OUTSIDE if parts is None else f"{parts[0]}{parts[1]}"


def kind_of(tensor: str) -> str:
    """Name what a tensor is in its layer.

    Args:
        tensor: The tensor's name.

    Returns:
        The name without stack and number (`self_attn.q_proj.weight`), further numbers as `*`.
    """
    parts = split_layer(tensor)
    rest = tensor if parts is None else parts[2].lstrip(".") or tensor
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", rest)


def group(tensors: Mapping[str, Geometry]) -> dict[Level, dict[str, Geometry]]:
    """Add tensors up by layer, by kind and to the whole.

    Args:
        tensors: Sums by tensor, in the model's order; at least one.

    Returns:
        Sums by level and name.
    """
    groups: dict[Level, dict[str, list[Geometry]]] = {level: {} for level in LEVELS}
    for name, geometry in tensors.items():
        keys = {"whole": "whole", "layer": layer_of(name), "kind": kind_of(name), "tensor": name}
        for level in LEVELS:
            groups[level].setdefault(keys[level], []).append(geometry)
    return {
        level: {name: together(parts) for name, parts in named.items()} for level, named in groups.items()
    }
