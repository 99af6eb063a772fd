"""The bound is an estimate where ρ is one: bumps that no sampled place lies on break it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.bump_setup import bump_setup

from analysis.curvature import LossSurface
from analysis.error_bound import SweepPoint, ingredients, sweep
from m2m.mixture import Mixture
from m2m.training import TrainRecipe

RECIPE = TrainRecipe(steps=16, batch=1, learning_rate=0.05, optimizer="sgd")


def point(center: float, height: float) -> SweepPoint:
    """Train towards (0.385, 0.385), past a bump 0.01 wide."""
    setup = bump_setup(center, width=0.01, height=height)
    surface = LossSurface(setup, setup.base_state(Path()))
    found = ingredients(surface, Mixture(("a", "b"), (0.5, 0.5)))
    [out] = sweep(surface, setup.base_state(Path()), found, [RECIPE], setup.targets["target"].validation)
    return out


def test_bumps_between_the_places_that_are_looked_at_break_it() -> None:
    points = [point(float(center), height=1.0) for center in np.linspace(0.02, 0.38, 9)]
    informative = [p for p in points if p.informative]
    broken = [p for p in informative if p.bound is not None and p.agreement.measured > p.bound.total]
    # As docs/theory.md says: the bump is seen at the half and the end of the merge's way only.
    assert (len(informative), len(broken)) == (7, 6)
    assert not any(p.holds for p in broken)


def test_without_the_bump_it_holds() -> None:
    flat = point(0.2, height=0.0)
    assert flat.holds
    assert flat.informative
