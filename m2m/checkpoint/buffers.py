"""Tensors of a checkpoint that are no weights: what a model computes anew, and counters nothing reads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from m2m.checkpoint.header import SIZES, TensorInfo

#: How the names of buffers end: rotary frequencies and tables, causal masks, positions. Transformers stores
#: them or not by its version, and makes them from the configuration.
_ENDS = (
    "inv_freq", "cos_cached", "sin_cached", "rope.freqs", "position_ids", "relative_position_index",
    "attn_mask", "masked_bias", "attn.bias", "attention.bias",
)  # fmt: skip
_BUFFER = re.compile(
    r"(?:^|\.)(?:"
    r"rotary_(?:pos_)?emb\.(?:original_)?inv_freq|rotary_(?:pos_)?emb\.(?:cos|sin)_cached|rope\.freqs|"
    r"(?:position_ids|relative_position_index|attn_mask|masked_bias)"
    r")$"
)
#: Types that count; a flag does not.
_WHOLE = frozenset(dtype for dtype in SIZES if dtype[0] in "IU")


def is_buffer(tensor: TensorInfo) -> bool:
    """Say whether a stored tensor is no weight, so that one model's serves all.

    Args:
        tensor: The tensor, as a checkpoint stores it.

    Returns:
        Whether a model computes it from its configuration (rotary frequencies, causal masks, positions), or
        it counts something: a whole number, as batch normalisation's `num_batches_tracked`.
    """
    if tensor.dtype in _WHOLE and tensor.nbytes == SIZES[tensor.dtype]:
        return True
    if not tensor.name.endswith(_ENDS):
        return False
    # GPT-2's and its kin's causal mask has the name of a bias.
    mask = tensor.name.endswith(".bias") and len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1)
    return mask or bool(_BUFFER.search(tensor.name))


def buffers_among(tensors: Iterable[TensorInfo]) -> set[str]:
    """Name the buffers among stored tensors."""
    return {
        info.name
        for info in tensors
        if (info.dtype in _WHOLE or info.name.endswith(_ENDS)) and is_buffer(info)
    }
