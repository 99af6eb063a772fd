"""A search strategy of others, for comparison: boosted trees in rounds, as DeMix and CLIMB do."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import lightgbm
import numpy as np

from m2m.searching import Strategy, Subsets
from m2m.searching.model_based import observed
from m2m.searching.objective import Ledger


def boosted() -> lightgbm.LGBMRegressor:
    """Make LightGBM with RegMix's kind of settings, and leaves small enough for few rows."""
    return lightgbm.LGBMRegressor(
        n_estimators=300, learning_rate=0.05, min_child_samples=5, verbose=-1, n_jobs=1
    )


@dataclass(frozen=True)
class BoostedRounds(Strategy):
    """LightGBM on s/|s|: half the budget at random, the rest in rounds of the best predicted of many draws.

    Attributes:
        budget: Evaluations in all.
        rounds: Rounds after the random half.
        draws: Candidates a round: random subsets, and random changes of the best ones tried.
    """

    budget: int
    rounds: int = 5
    draws: int = 20_000

    def explore(self, ledger: Ledger, space: Subsets, random: Random) -> None:
        """Try a random half, then what the trees like best."""
        generator = np.random.default_rng(random.getrandbits(64))
        choices, names = space.choices, np.array(space.datasets)
        for chosen in choices.random(self.budget // 2, generator):
            ledger(space.subset((name,) for name in names[chosen > 0]))
        while True:
            points, losses = observed(ledger)
            trees = boosted().fit(points, losses)
            best = points[losses.argsort()[:20]] > 0
            changed = best[generator.integers(len(best), size=self.draws // 2)]
            changed = changed ^ (generator.random(changed.shape) < 2 / len(names))
            pool = np.vstack([choices.random(self.draws // 2, generator), changed[changed.any(1)]])
            order = trees.predict(choices.points(pool)).argsort()
            new = 0
            for row in pool[order]:
                mixture = space.subset((name,) for name in names[row > 0])
                if not ledger.knows(mixture):
                    ledger(mixture)
                    new += 1
                if new == max(1, self.budget // 2 // self.rounds):
                    break
