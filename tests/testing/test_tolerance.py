"""The derived bound holds, is not slack, and knows the formats."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from m2m.ops import DTYPES, weighted_sum
from m2m.testing import laws, tolerance


@pytest.mark.parametrize("dtype", DTYPES)
def test_format_constants(dtype):
    u, eta = tolerance.unit_roundoff(dtype), tolerance.smallest_subnormal(dtype)
    one = torch.tensor(1.0, dtype=dtype)
    assert u == torch.finfo(dtype).eps / 2
    assert torch.nextafter(one, one * 2) == 1 + 2 * u
    assert eta == torch.nextafter(one * 0, one).double().item()


def test_gamma_is_above_the_growth_of_n_roundings():
    u = Fraction(2) ** -24
    assert Fraction(tolerance.gamma(64, 2.0**-24)) > (1 + u) ** 64 - 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("out_dtype", DTYPES)
def test_bound_holds_and_is_tight(dtype, out_dtype):
    generator = torch.Generator().manual_seed(1)
    experts = [torch.randn(100, generator=generator, dtype=torch.float64).to(dtype) for _ in range(4)]
    weights = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    bound = tolerance.weighted_sum_bound(experts, weights, out_dtype)
    got = weighted_sum(experts, weights, out_dtype=out_dtype)
    exact = laws.exact_weighted_sum(experts, weights)
    used = [
        abs(Fraction(float(got[m, p])) - exact[m][p]) / Fraction(float(bound[m, p]))
        for m in range(3)
        for p in range(100)
    ]
    assert max(used) <= 1
    # The store's rounding alone reaches nearly all of the bound where it is the coarser one.
    coarse_store = tolerance.unit_roundoff(out_dtype) > 2.0**-12
    assert max(used) > (0.9 if coarse_store else 0.05)
