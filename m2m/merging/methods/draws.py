r"""Random draws that depend on nothing but (seed, expert, tensor name, element index).

The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
2011). Contract for every other implementation:

* key: the first 8 bytes of SHA-256 of the UTF-8 text `m2m philox 1\n{seed}\n{expert}\n{tensor}` (decimal
  numbers, the expert's position among the recipe's experts from 0); bytes 0-3 little-endian are `key[0]`,
  bytes 4-7 `key[1]`;
* counter of element i: `(c mod 2³², c div 2³², 0, 0)` with c = i div 4; its draw is word i mod 4 of the
  ten-round output;
* element i is kept with probability q when `word < T`, both as integers, T = floor(q·2³²) (exact in float64:
  the product only moves the exponent). q = 1 keeps everything, q = 0 nothing.

Element indices count the whole tensor in row-major order, so chunks, threads, shards and devices cannot
change a draw.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: 32-bit values held in uint64, so that a product keeps its high half.
Words = NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox_key(seed: int, expert: int, tensor: str) -> tuple[int, int]:
    """`key[0]` and `key[1]` of one tensor of the expert at a position from 0, each in [0, 2³²)."""
    digest = hashlib.sha256(f"m2m philox 1\n{seed}\n{expert}\n{tensor}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def philox(counter: Sequence[Words], key: tuple[int, int]) -> list[Words]:
    """Philox4x32-10 of four counter words, 32-bit values in uint64, as the four output words; each [B]."""
    words = list(counter)
    for step in range(_ROUNDS):
        round_key = [np.uint64((key[i] + step * _WEYL[i]) & 0xFFFFFFFF) for i in range(2)]
        left, right = _MULTIPLIERS[0] * words[0], _MULTIPLIERS[1] * words[2]
        words = [
            (right >> _SHIFT) ^ words[1] ^ round_key[0],
            right & _LOW,
            (left >> _SHIFT) ^ words[3] ^ round_key[1],
            left & _LOW,
        ]
    return words


def draw_words(key: tuple[int, int], start: int, count: int) -> NDArray[np.uint32]:
    """One word an element of [start, start + count), uint32 [P]."""
    first, offset = divmod(start, 4)
    block = np.uint64(first) + np.arange(-(-(offset + count) // 4), dtype=np.uint64)
    zero = np.zeros_like(block)
    words = philox([block & _LOW, block >> _SHIFT, zero, zero], key)
    return np.stack(words, axis=-1).astype(np.uint32).reshape(-1)[offset : offset + count]


def keep_threshold(probability: float) -> int:
    """T = floor(q·2³²) in [0, 2³²] of a keep probability q, which a word is compared with."""
    return math.floor(math.ldexp(probability, 32))
