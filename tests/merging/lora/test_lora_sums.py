"""Sums of tensors and products in memory have the bits of the reference twin, however they are cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2m import _core
from m2m.merging.lora.products import Term, add_scaled, sum_terms_into
from m2m.ops import weighted_sum_reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def whole(term: Term) -> torch.Tensor:
    """What a term is, as defined: products by Σ_k from −0, each product and sum rounded to float64."""
    if isinstance(term, torch.Tensor):
        return term.double()
    left, right = (factor.double() for factor in term)
    total = torch.full((len(left), right.shape[1]), -0.0, dtype=torch.float64)
    for k in range(left.shape[1]):
        total = total + left[:, k, None] * right[k]
    return total


def draw_terms(shape: tuple[int, int], ranks: list[int], seed: int) -> list[Term]:
    """Tensors (rank 0) and products; types in turn, the second one transposed in memory."""
    generator = torch.Generator().manual_seed(seed)
    terms: list[Term] = []
    for number, rank in enumerate(ranks):
        dtype = DTYPES[(number + seed) % 4]
        if not rank:
            terms.append(torch.randn(shape, generator=generator).to(dtype))
            continue
        left = torch.randn(shape[0], rank, generator=generator).to(dtype)
        right = torch.randn(shape[1], rank, generator=generator).to(DTYPES[(number + 2 * seed) % 4]).T
        terms.append((left, right))
    return terms


@given(
    shape=st.sampled_from([(1, 1), (3, 5), (7, 1200), (1200, 7), (40, 1000), (0, 4)]),
    ranks=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    outs=st.integers(1, 3),
    threads=st.integers(1, 3),
    out_dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_sums_have_the_twins_bits(
    shape: tuple[int, int],
    ranks: list[int],
    outs: int,
    threads: int,
    out_dtype: torch.dtype,
    seed: int,
) -> None:
    terms = draw_terms(shape, ranks, seed)
    weights = torch.randn(
        outs, len(terms), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    weights[:, seed % len(terms)] = 0  # of every row: that term is not formed
    got = [torch.full(shape, torch.nan, dtype=out_dtype) for _ in range(outs)]
    sum_terms_into(got, terms, weights, threads=threads)
    wanted = weighted_sum_reference([whole(term) for term in terms], weights, out_dtype=out_dtype)
    assert torch.equal(torch.stack(got), wanted)


def test_instruction_sets_agree() -> None:
    terms, weights = (
        draw_terms((40, 1000), [0, 5, 9], 3),
        torch.tensor([[1.0, 0.3, -0.7]], dtype=torch.float64),
    )
    found, used = [], _core.current_isa()
    try:
        for isa in _core.available_isas():
            _core.use_isa(isa)
            out = torch.empty(40, 1000)
            sum_terms_into([out], terms, weights)
            found.append(out)
    finally:
        _core.use_isa(used)
    assert all(torch.equal(out, found[0]) for out in found)


def test_one_adapter_on_a_weight_that_lies_transposed() -> None:
    weight, factors = torch.randn(6, 4).T, (torch.randn(4, 2), torch.randn(2, 6))
    wanted = weighted_sum_reference([weight.double(), whole(factors)], [[1.0, 0.5]], out_dtype=weight.dtype)[
        0
    ]
    assert torch.equal(add_scaled(weight, factors, 0.5), wanted)


@pytest.mark.parametrize(
    ("outs", "terms", "weights", "why"),
    [
        ([torch.empty(2, 3)], [(torch.zeros(2, 2), torch.zeros(3, 3))], torch.ones(1, 1), "does not fit"),
        ([torch.empty(2, 3)], [(torch.zeros(2, 2), torch.zeros(2, 2))], torch.ones(1, 1), "size"),
        ([torch.empty(2, 3)], [torch.zeros(2, 2)], torch.ones(1, 1), "size"),
        ([torch.empty(2, 3)], [torch.zeros(2, 3)], torch.ones(1, 2), "is not float64"),
        ([torch.empty(2, 3), torch.empty(2, 2)], [torch.zeros(2, 3)], torch.ones(2, 1), "differs"),
        ([torch.empty(2, 3)], [], torch.ones(1, 0), "no terms"),
    ],
)
def test_what_does_not_fit_never_reaches_memory(
    outs: list[torch.Tensor], terms: list[Term], weights: torch.Tensor, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        sum_terms_into(outs, terms, weights.double())
