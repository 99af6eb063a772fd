"""Sums over pairs against every pair one by one, to the bit: they are sums of whole numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.fidelity.coefficients import pair_sums, permuted_pair_sums

#: Few distinct values, so that ties are common, and many, so that there are none.
SIZES = st.integers(0, 40)
KINDS = st.sampled_from([1, 2, 5, 1000])


def signs(scores: np.ndarray) -> np.ndarray:
    return np.sign(scores[:, None] - scores)


@given(n=SIZES, kinds=KINDS, seed=st.integers(0, 999))
def test_every_pair_is_counted(n: int, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, kinds, size=(2, n)).astype(float) / 7
    weight = rng.integers(0, 4, size=(3, n)).astype(float)
    u, v = signs(first), signs(second)
    expected = [np.einsum("ri,rj,ij->r", weight, weight, product) for product in (u * v, u**2, v**2)]
    assert np.array_equal(pair_sums(first, second, weight), expected)


@given(n=SIZES, kinds=KINDS, seed=st.integers(0, 999))
def test_every_order_is_counted(n: int, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, kinds, size=(2, n)).astype(float) / 7
    orders = np.array([rng.permutation(n) for _ in range(4)]).reshape(4, n)
    expected = [np.sum(signs(first) * signs(second[order])) for order in orders]
    assert np.array_equal(permuted_pair_sums(first, second, orders), expected)


def test_a_hundred_thousand_rows_take_no_table_of_pairs() -> None:
    """10^10 pairs would be 75 GiB; reversed orders have every pair the wrong way round."""
    scores = np.arange(100_000.0)
    both, first, second = pair_sums(scores, -scores, np.ones((1, len(scores))))
    assert both == -first
    assert first == second == 100_000 * 99_999
