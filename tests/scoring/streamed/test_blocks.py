"""Blocks hold the uses in order, and as much as the limit allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from m2m.scoring.streamed.plan import Use, cut, recurring

SIZES = {name: 2**place for place, name in enumerate("abcdef")}
USES = st.lists(
    st.builds(Use, st.frozensets(st.sampled_from("abcdef"), min_size=1, max_size=3), st.integers(0, 99)),
    min_size=1, max_size=12,
)  # fmt: skip


def size(weights: frozenset[str] | list[str]) -> int:
    return sum(SIZES[weight] for weight in weights)


@given(USES, st.integers(0, 30))
def test_every_use_is_within_a_block_and_blocks_are_in_order(uses: list[Use[str]], spare: int) -> None:
    limit = max(size(use.weights) for use in uses) + spare
    blocks = cut(uses, SIZES, limit)
    assert all(size(block) <= limit for block in blocks)
    at = 0
    for use in uses:
        while not use.weights <= set(blocks[at]):
            at += 1  # an IndexError here means that the blocks are not in the order of the uses
    assert at == len(blocks) - 1


@given(USES)
def test_one_block_if_it_fits(uses: list[Use[str]]) -> None:
    [block] = cut(uses, SIZES, sum(SIZES.values()))
    assert set(block) == {weight for use in uses for weight in use.weights}
    assert len(block) == len(set(block))


def test_a_cut_is_where_the_fewest_activations_wait() -> None:
    uses = [Use(frozenset(name), alive) for name, alive in [("a", 0), ("b", 9), ("c", 1), ("d", 9), ("e", 9)]]
    equal = dict.fromkeys("abcde", 1)
    assert cut(uses, equal, 4) == [["a", "b"], ["c", "d", "e"]]
    assert recurring([["a", "b"], ["b", "c"], ["a"]]) == ["a", "b"]
