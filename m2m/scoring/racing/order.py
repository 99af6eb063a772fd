"""The order in which a race goes through the examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator


def spread_order(count: int, seed: int) -> list[int]:
    """Order the examples so that every beginning of the order is spread evenly over them.

    Examples that lie close together (windows of one document, images of one class) are often alike. So the
    order draws in turn from the first and the second half of the examples, within each half from its halves,
    and so on. A random start, wrapping around, gives every example the same chance to be among the first n:
    means over a beginning are unbiased, and vary at most about as much as in a random order.

    Args:
        count: Number of examples E.
        seed: Decides the order.

    Returns:
        All example numbers, once each. [E]
    """
    generator = np.random.default_rng(seed)
    start = int(generator.integers(count)) if count else 0
    return _interleaved([(start + i) % count for i in range(count)], generator)


def _interleaved(examples: Sequence[int], generator: Generator) -> list[int]:
    if len(examples) <= 1:
        return list(examples)
    odd_one = len(examples) % 2 and int(generator.integers(2))
    middle = len(examples) // 2 + odd_one
    halves = [_interleaved(half, generator) for half in (examples[:middle], examples[middle:])]
    first = int(generator.integers(len(examples)) >= middle)  # the larger half begins more often
    one, other = halves[first], halves[1 - first]
    order = [example for pair in zip(one, other, strict=False) for example in pair]
    shared = min(len(one), len(other))
    return order + one[shared:] + other[shared:]
