"""RegMix's procedure (arXiv 2407.01492, Sec. 3): random rows, boosted trees, the mean of what they like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from m2m.mixture import Mixture
from m2m.predicting import FAMILIES
from m2m.searching import Simplex
from m2m.support.arrays import Floats

#: Mixtures that are simulated, and how many of the best are averaged (RegMix's repository).
SIMULATED, AVERAGED = 100_000, 128
#: Between these the total of the Dirichlet parameters is log-uniform: rows from sparse to even.
WEAKEST, STRONGEST = 0.1, 5.0


def dirichlet(k: int, count: int, generator: np.random.Generator) -> Floats:
    """Draw mixtures as RegMix does, around equal shares: [count, K]."""
    strengths = k * np.exp(generator.uniform(np.log(WEAKEST), np.log(STRONGEST), count))
    parts = generator.standard_gamma(np.repeat(strengths[:, None] / k, k, axis=1)) + 1e-300
    return np.asarray(parts / parts.sum(1, keepdims=True))


def regmix(evaluate: Callable[[Mixture], float], space: Simplex, budget: int, seed: int) -> Mixture:
    """Spend the budget on random rows and return the mean of the simulated mixtures that look best."""
    generator = np.random.default_rng(seed)
    k = len(space.datasets)
    tried = dirichlet(k, budget, generator)
    losses = np.array([evaluate(space.mixture(row)) for row in tried])
    simulated = dirichlet(k, SIMULATED, generator)
    best = FAMILIES["lightgbm"].fit(tried, losses).predict(simulated).argsort()[:AVERAGED]
    return space.mixture(simulated[best].mean(0))
