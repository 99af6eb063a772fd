"""Search by a model: believe, draw landscapes from the belief, try where they are lowest."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from m2m.mixture import MergingWeights, Mixture
from m2m.searching.objective import Ledger
from m2m.searching.polynomial_posterior import PolynomialPosterior
from m2m.searching.polynomials import QuadraticPrior
from m2m.searching.proposals import INCUMBENTS, Proposals, proposals_for
from m2m.searching.scaled_simplex import ScaledSimplex
from m2m.searching.simplex import Simplex
from m2m.searching.spaces import MixtureList, Subsets
from m2m.searching.strategy import Space, Strategy

#: Mixtures that a prior chooses before anything is scored.
FROM_PRIOR = 4
#: The belief's variances are fitted anew when there are this many times as many evaluations,
REFIT = 1.2
#: in so many steps from the last ones: what a belief proposes is measured, so it need not have settled.
REFIT_STEPS = 25


@dataclass(frozen=True)
class ModelBased(Strategy):
    """Bayesian regression on the averaged subset and its pairs, with Thompson sampling.

    The merged model of S is θ₀ + Σ_{n∈S} τ_n/|S|, so its loss is quadratic in x = s/|S| as far as the
    target's loss is quadratic in θ. `PolynomialPosterior` learns that quadratic from few evaluations and
    knows how sure it is. Each round tries the lowest subset of the belief's mean and the lowest subsets of
    draws from it, which explores where the belief is wide and settles where it is narrow (Thompson, 1933).

    Attributes:
        design: Evaluations before the first belief, a dataset: single ones first, then a spread of sizes.
        batch: Evaluations a round, a dataset; at least 4 in all.
        prior: What the curvature at the base says of the loss; None: nothing. With a prior the first round is
            the lowest mixtures by it, and there is no design.
    """

    spaces = (Subsets, Simplex, ScaledSimplex, MixtureList)

    design: float = 1.5
    batch: float = 0.1
    prior: QuadraticPrior | None = None

    def explore(self, ledger: Ledger, space: Space, random: Random) -> None:
        """Try a spread of mixtures, then what the belief proposes, until the space is used up."""
        generator = np.random.default_rng(random.getrandbits(64))
        proposals, n = proposals_for(space), len(space.datasets)
        ledger.round(self._first(space, proposals, generator))
        log_variances, fitted_at = None, 0.0
        while (tried := len(ledger.trajectory)) < space.count:
            fit = tried >= REFIT * fitted_at
            points, losses = ledger.observed()
            errors = np.array([evaluation.error for evaluation in ledger.trajectory])
            steps = REFIT_STEPS if fit else 0
            posterior = PolynomialPosterior(
                points, losses, log_variances, errors=errors, prior=self.prior, steps=steps
            )
            log_variances, fitted_at = posterior.log_variances, tried if fit else fitted_at
            count = max(4, round(self.batch * n))
            found = _round(posterior, space, proposals, ledger, count, generator)
            mean = posterior.mean()
            ledger.round(found, [float(mean.at(np.array([mixture.weights]))[0]) for mixture in found])
            if len(ledger.trajectory) == tried:  # all that looks good is known
                ledger(_new(ledger, space, random))

    def _first(
        self, space: Space, proposals: Proposals, generator: np.random.Generator
    ) -> list[MergingWeights]:
        n = len(space.datasets)
        if self.prior is not None:
            lowest = proposals.lowest(self.prior.landscape, np.empty((0, n)), generator)
            return [space.mixture(point) for point in lowest[:FROM_PRIOR]]
        singles = [Mixture.subset(space.datasets, [name]) for name in space.datasets]
        first = [single for single in singles if single in space]
        count = max(4, round(self.design * n)) - len(first)
        return [*first, *(space.mixture(point) for point in proposals.design(count, generator))]


def _new(ledger: Ledger, space: Space, random: Random) -> MergingWeights:
    while ledger.knows(mixture := space.sample(random)):
        pass
    return mixture


def _round(
    posterior: PolynomialPosterior,
    space: Space,
    proposals: Proposals,
    ledger: Ledger,
    count: int,
    generator: np.random.Generator,
) -> list[MergingWeights]:
    """Return at most `count` mixtures to try: the lowest new one of the mean, and of each draw."""
    points, _ = ledger.observed()
    incumbents = points[posterior.predicted().argsort()[:INCUMBENTS]]
    chosen: dict[str, MergingWeights] = {}
    for number in range(count):
        landscape = posterior.draw(generator) if number else posterior.mean()
        found = map(space.mixture, proposals.lowest(landscape, incumbents, generator))
        new = next((m for m in found if not ledger.knows(m) and m.key not in chosen), None)
        if new is not None:
            chosen[new.key] = new
    return list(chosen.values())
