"""Selection, ordered sums and the one rounding that the reference twins are built on."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2m.merging.methods.exact import (
    LANES,
    SEGMENT,
    gram_matrix,
    largest,
    magnitude_bits,
    ordered_sum,
    ranks,
    round_once,
)

#: Few distinct magnitudes, so that ties are common.
TIED = st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -3.5, 1e-40]), min_size=1, max_size=40)


@given(TIED, st.data())
def test_exactly_the_largest_are_marked_lowest_index_first(values: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(values)))
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))
    mask = largest(magnitude_bits(torch.tensor(values)), count)
    assert mask.nonzero().flatten().tolist() == sorted(order[:count])


@given(TIED, st.integers(1, 3))
def test_ranks_are_positions_in_that_order(values: list[float], rows: int) -> None:
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))
    ranked = ranks(magnitude_bits(torch.tensor([values] * rows)))
    for row in ranked.tolist():
        assert sorted(range(len(values)), key=row.__getitem__) == order


@pytest.mark.parametrize("count", [0, 1, LANES, LANES + 5, 3000, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 77])
def test_the_ordered_sum_follows_its_contract(count: int) -> None:
    terms = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    values, total = terms.tolist(), 0.0
    for start in range(0, count, SEGMENT):
        lanes = [0.0] * LANES
        for index, value in enumerate(values[start : start + SEGMENT]):
            lanes[index % LANES] += value
        for width in (8, 4, 2, 1):
            lanes = [lanes[j] + lanes[j + width] for j in range(width)]
        total += lanes[0]
    assert ordered_sum(terms) == total
    steps = min(count, SEGMENT) // LANES + 5 + count // SEGMENT
    assert abs(total - math.fsum(values)) <= steps * 2.0**-53 * math.fsum(map(abs, values)) * 1.01


def test_the_gram_matrix_is_symmetric_and_right() -> None:
    points = [torch.randn(3, 50, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    gram = torch.tensor(gram_matrix(points), dtype=torch.float64)
    flat = torch.stack(points).flatten(1).double()
    assert torch.equal(gram, gram.T)
    assert torch.all((gram - flat @ flat.T).abs() <= 200 * 2.0**-53 * (flat.abs() @ flat.abs().T))


@given(st.floats(-1e39, 1e39), st.sampled_from([torch.bfloat16, torch.float16]))
def test_one_rounding_to_nearest_even(value: float, dtype: torch.dtype) -> None:
    got = round_once(torch.tensor([value], dtype=torch.float64), dtype)
    bits = got.view(torch.int16)
    info = torch.finfo(dtype)
    if not math.isfinite(got.item()):
        # Half an ulp above the largest finite number is where infinity begins.
        assert abs(value) >= info.max * (1 + info.eps / 4)
        return
    near = [x for x in (bits - 1, bits, bits + 1) if math.isfinite(x.view(dtype).item())]
    distances = {int(x): abs(Fraction(x.view(dtype).item()) - Fraction(value)) for x in near}
    best = min(distances.values())
    assert distances[int(bits)] == best
    if sum(distance == best for distance in distances.values()) == 2 and got.item() != 0:
        assert int(bits) % 2 == 0


def test_a_double_rounding_would_show() -> None:
    # Above a midpoint of bfloat16 by less than float32 can hold: two roundings would go down to even.
    value = 1 + 2.0**-8 + 2.0**-40
    assert round_once(torch.tensor([value], dtype=torch.float64), torch.bfloat16).item() == 1 + 2.0**-7
