"""Search by any predictor: score some mixtures, fit, score what it likes best, and again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from m2m.errors import InputError
from m2m.mixture import MergingWeights
from m2m.predicting import AUTO, Model, family, fit_predictor
from m2m.searching.objective import BudgetSpentError, Ledger
from m2m.searching.proposals import ALL_AT_ONCE, ListedProposals, proposals_for
from m2m.searching.scaled_simplex import Continuous, ScaledSimplex
from m2m.searching.simplex import Simplex
from m2m.searching.simplex_optimum import fine_search, spread
from m2m.searching.spaces import MixtureList, Subsets
from m2m.searching.strategy import Space, Strategy
from m2m.support.arrays import Floats

#: The best mixtures tried, of which random changes are looked at as well.
INCUMBENTS = 20
#: Draws in a row that were known already, after which the space is said to hold nothing new.
PATIENCE = 100


@dataclass(frozen=True)
class PredictorRounds(Strategy):
    """Random mixtures, then rounds of: fit a predictor, look at many mixtures, try the best it predicts.

    With boosted trees and many rounds this is what CLIMB (arXiv 2504.13161) and DeMix do; with
    `model="lightgbm-regmix", proposed=1, rounds=1` it is RegMix's procedure (arXiv 2407.01492).

    Attributes:
        model: A family of `m2m.predicting`, or `auto`.
        proposed: Evaluations that the predictor decides on; None: half of the budget.
        rounds: Fits; they share those evaluations.
        explored: Share of a round that is random all the same.
        looked_at: Mixtures that a fit predicts, where there are more than that.
    """

    spaces = (Subsets, Simplex, ScaledSimplex, MixtureList)
    ends = False

    model: str = AUTO
    proposed: int | None = None
    rounds: int = 5
    explored: float = 0.1
    looked_at: int = 20_000

    def explore(self, ledger: Ledger, space: Space, random: Random) -> None:
        """Try random mixtures, then what the predictor likes best."""
        generator = np.random.default_rng(random.getrandbits(64))
        budget = int(min(ledger.left, space.count))
        proposed = budget // 2 if self.proposed is None else min(self.proposed, budget)
        self._check(budget - proposed, proposed, len(space.datasets) + isinstance(space, ScaledSimplex))
        if not isinstance(space, Continuous):
            ledger.round(map(space.mixture, proposals_for(space).design(budget - proposed, generator)))
        _try_new(ledger, space, random, budget - proposed)
        tried = -1
        while tried < len(ledger.trajectory) < budget:
            tried = len(ledger.trajectory)
            batch = min(budget - tried, max(1, proposed // self.rounds))
            at_random = round(self.explored * batch) if batch > 1 else 0
            model = self._fitted(ledger, space, random.getrandbits(31))
            if best := self._best(model, ledger, space, batch - at_random, generator):
                ledger.round(*zip(*best, strict=True))
            _try_new(ledger, space, random, tried + batch)
        if ledger.left == 0:
            raise BudgetSpentError

    def _check(self, start: int, proposed: int, n: int) -> None:
        needed = 8 if self.model == AUTO else family(self.model).rows_needed(n)
        if start < needed:
            least = needed + (needed if self.proposed is None else proposed)
            raise InputError(
                f"predictor {self.model} needs at least {needed} scored mixtures of {n} datasets before its "
                f"first fit, and this budget leaves {start}: raise the budget to {least}, or take a "
                f"predictor that needs fewer (ridge, gp)"
            )

    def _fitted(self, ledger: Ledger, space: Space, seed: int) -> Model:
        points, losses = ledger.observed()
        points = _shares(space, points)
        if self.model == AUTO:
            return fit_predictor(points, losses, seed=seed).fitted
        return family(self.model).fit(points, losses, seed)

    def _best(
        self, model: Model, ledger: Ledger, space: Space, count: int, generator: np.random.Generator
    ) -> list[tuple[MergingWeights, float]]:
        """Return the untried mixtures of the lowest losses, with these."""
        points = self._candidates(model, ledger, space, generator)
        losses = model.predict(_shares(space, points))
        penalties = space.penalties(points) if isinstance(space, Continuous) else 0.0
        found: dict[str, tuple[MergingWeights, float]] = {}
        for k in (losses + penalties).argsort(kind="stable"):
            mixture = space.mixture(points[k])
            if not ledger.knows(mixture):
                found.setdefault(mixture.key, (mixture, float(losses[k])))
            if len(found) == count:
                break
        return list(found.values())

    def _candidates(
        self, model: Model, ledger: Ledger, space: Space, generator: np.random.Generator
    ) -> Floats:
        """Return the mixtures to look at: [M, N]."""
        if isinstance(space, Continuous):
            pool = spread(space, self.looked_at, generator)
            found = fine_search(lambda at: -model.predict(_shares(space, at)), space, pool, generator)
            return np.vstack([found.best, pool])
        if isinstance(space, MixtureList) or space.count <= ALL_AT_ONCE:
            return ListedProposals(space).design(int(space.count), generator)
        free, half = space.free_units, self.looked_at // 2
        points, losses = ledger.observed()
        best = (points[losses.argsort()[:INCUMBENTS]] @ free.members.T > 0).astype(float)
        changed = best[generator.integers(len(best), size=half)]
        changed = np.abs(changed - (generator.random(changed.shape) < 2 / free.members.shape[0]))
        sizes = changed.sum(1)
        fits = (sizes >= free.fewest) & (sizes <= free.most)
        return free.points(np.vstack([free.random(half, generator), changed[fits]]))


def _shares(space: Space, points: Floats) -> Floats:
    # What predictors are made for: rows on a simplex.
    return space.on_a_simplex(points).clip(0) if isinstance(space, Continuous) else points


def _try_new(ledger: Ledger, space: Space, random: Random, total: int) -> None:
    """Evaluate mixtures at random until `total` were tried, or bounds leave no new ones."""
    stale = 0
    while len(ledger.trajectory) < total and stale < PATIENCE:
        mixture = space.sample(random)
        stale = stale + 1 if ledger.knows(mixture) else 0
        ledger(mixture)
