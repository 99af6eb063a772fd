"""The counter-based generator: known answers, and draws that depend on nothing but their key and index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.merging.methods.draws import draw_words, keep_threshold, philox, philox_key

# Known answers of the authors' own implementation (Random123, kat_vectors, philox4x32-10).
KNOWN = [
    ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter: list[int], key: tuple[int, int], expected: list[int]) -> None:
    words = philox([np.array([word], dtype=np.uint64) for word in counter], key)
    assert [int(word[0]) for word in words] == expected


def test_the_key_is_pinned() -> None:
    # sha256(b"m2m philox 1\n7\n2\nh.0.w") starts with these bytes; another implementation must find the same.
    import hashlib

    digest = hashlib.sha256(b"m2m philox 1\n7\n2\nh.0.w").digest()
    assert philox_key(7, 2, "h.0.w") == tuple(np.frombuffer(digest[:8], dtype="<u4").tolist())


@given(st.integers(0, 2**32), st.integers(0, 2**40), st.integers(0, 60), st.integers(0, 60))
def test_chunks_cannot_change_a_draw(seed: int, start: int, first: int, second: int) -> None:
    key = philox_key(seed, 0, "w")
    whole = draw_words(key, start, first + second)
    parts = [draw_words(key, start, first), draw_words(key, start + first, second)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_seed_expert_and_tensor_each_matter() -> None:
    keys = [philox_key(*about) for about in ((0, 0, "w"), (1, 0, "w"), (0, 1, "w"), (0, 0, "v"))]
    assert len(set(keys)) == 4


@given(st.floats(0, 1))
def test_the_threshold_keeps_the_asked_share(probability: float) -> None:
    # A word is one of 2³² equally likely ones, so the share kept is T/2³², at most 2⁻³² below.
    assert 0 <= probability - keep_threshold(probability) / 2**32 < 2**-32
    assert (keep_threshold(0.0), keep_threshold(1.0)) == (0, 2**32)


def test_draws_are_uniform_enough() -> None:
    n, q = 100_000, 0.3
    kept = int((draw_words(philox_key(0, 0, "w"), 0, n) < keep_threshold(q)).sum())
    # Six standard deviations of a binomial: one in 5e8 seeds would fail, and this one is fixed.
    assert abs(kept - n * q) < 6 * (n * q * (1 - q)) ** 0.5
