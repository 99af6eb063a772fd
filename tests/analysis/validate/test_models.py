"""Residuals and cosines of two seeds say what training did, without the seeds' noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.validate.models import cosine_evidence, crossed, residual_evidence

SIZE = 200_000


def noise(generator: torch.Generator, length: float) -> torch.Tensor:
    return length / SIZE**0.5 * torch.randn(SIZE, generator=generator, dtype=torch.float64)


def test_products_across_seeds_leave_the_noise_out() -> None:
    generator = torch.Generator().manual_seed(0)
    way, offset = noise(generator, 1.0), noise(generator, 0.4)
    rows, raw = [], []
    for _ in range(11):
        models = [way + offset + noise(generator, 0.7) for _ in range(2)]
        merged = [way + noise(generator, 0.35) for _ in range(2)]
        rows.append(crossed(*models, *merged))
        raw.append(((models[0] - merged[0]).norm() / models[0].norm()).item())
    found = residual_evidence(np.array(rows), 0)
    # ‖E Δ‖ = 0.4 and ‖E x‖ = √(1 + 0.16); products of independent directions are of the order of 1/√P.
    truth = 0.4 / 1.16**0.5
    assert found.value == pytest.approx(truth, abs=0.01)
    assert found.high < 0.5
    assert np.mean(raw) == pytest.approx((0.16 + 0.49 + 0.1225) ** 0.5 / (1.16 + 0.49) ** 0.5, abs=0.01)
    assert np.mean(raw) > 0.65  # one seed alone: the claim of less than half the way would fail


def test_cosines_are_disattenuated() -> None:
    generator = torch.Generator().manual_seed(1)
    shared = noise(generator, 0.4**0.5)
    signal = torch.stack([shared + noise(generator, 0.6**0.5) for _ in range(4)])
    seeds = [signal + torch.stack([noise(generator, 1.0) for _ in range(4)]) for _ in range(2)]
    one, both = cosine_evidence(seeds[0], None), cosine_evidence(*seeds)
    assert one.value == pytest.approx(0.2, abs=0.02)  # half the energy is noise
    assert both.value == pytest.approx(0.4, abs=0.02)
    assert one.condition.startswith("experts of one training seed")
    assert both.condition == ""
    assert 0 < both.low < both.value < both.high < 1


def test_residuals_of_noise_alone_are_none() -> None:
    assert residual_evidence(np.array([[-0.1, 1.0], [0.05, 1.0], [-0.2, 2.0]]), 0).value == 0
    assert residual_evidence(np.array([[0.1, 0.0], [0.1, -1.0], [0.1, 1.0]]), 0).value is None
