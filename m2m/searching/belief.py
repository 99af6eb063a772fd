"""How sure a search can be of its pick, and what it should try next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from m2m.errors import InputError
from m2m.mixture import MergingWeights
from m2m.searching.objective import Evaluation
from m2m.searching.polynomial_posterior import PolynomialPosterior
from m2m.searching.polynomials import QuadraticPrior
from m2m.searching.proposals import INCUMBENTS, proposals_for
from m2m.searching.scaled_simplex import Continuous
from m2m.searching.simplex_optimum import distinct
from m2m.searching.strategy import Space
from m2m.support.arrays import SMALLEST_DIFFERENCE, Floats

#: Landscapes drawn from the belief: probabilities are known to ± 3 % (one standard error at ½).
DRAWS = 256
#: As many of them are searched for their own best mixture, which is what takes the time.
SEARCHED = 64
#: A mixture with at least this probability of being better than the pick is not told apart from it.
DOUBT = 0.05
#: Fewest evaluations that say anything about seven variances.
FEWEST = 4
#: Most contenders and next evaluations that are listed.
LISTED = 10


@dataclass(frozen=True)
class Contender:
    """A mixture and what is believed about it.

    Attributes:
        mixture: The mixture.
        value: Its expected score, without the noise of an evaluation.
        deviation: Standard deviation of the belief in it, in the score's unit.
        probability: Probability that it is the best of all.
        tried: Whether it was evaluated.
    """

    mixture: MergingWeights
    value: float
    deviation: float
    probability: float
    tried: bool


@dataclass(frozen=True)
class Belief:
    """What a search's evaluations say about its outcome, by the model of `PolynomialPosterior`.

    Attributes:
        pick: The mixture tried with the best expected score; with noise not always the best one measured.
        contenders: Others, tried or not, that beat the pick with a probability of at least 5 %; best first.
        next: Untried mixtures most likely to be the best: the recommended next evaluations.
        regret: How much the pick is expected to fall short of the best mixture, in the score's unit.
        worst: The mixture with the worst expected score: how much the choice matters.
        noise: Standard deviation of an evaluation that no smooth landscape explains, in the score's unit.
        notes: What is to be read with care: variances that did not settle or ended at a bound, equal scores.
    """

    pick: Contender
    contenders: tuple[Contender, ...]
    next: tuple[MergingWeights, ...]
    regret: float
    worst: Contender
    noise: float
    notes: tuple[str, ...] = ()


def assess(
    trajectory: Sequence[Evaluation],
    space: Space,
    *,
    higher_is_better: bool,
    seed: int = 0,
    prior: QuadraticPrior | None = None,
) -> Belief:
    """Say how sure a search can be, whatever strategy it followed.

    The probabilities come from landscapes drawn from the posterior; many are searched for their own best
    mixture, so that the doubt includes what was never tried. They are as good as the model: a landscape that
    is not smooth in the mixture shows as noise.

    Args:
        trajectory: What was tried; at least four mixtures.
        space: The mixtures that may be tried.
        higher_is_better: The score's direction.
        seed: Decides all draws.
        prior: What was believed before, of a loss; None: nothing.

    Returns:
        The pick and the doubts about it.

    Raises:
        InputError: If there are fewer than four evaluations, or a prior for a score that is no loss.
    """
    if len(trajectory) < FEWEST:
        raise InputError(
            f"{len(trajectory)} evaluations say nothing about how sure a pick is: raise the budget to at "
            f"least {FEWEST}"
        )
    if prior is not None and higher_is_better:
        raise InputError("a quadratic prior describes a loss, and this score is better the higher it is")
    sign = -1.0 if higher_is_better else 1.0
    points = np.array([evaluation.mixture.weights for evaluation in trajectory])
    values, errors = (np.array([getattr(e, name) for e in trajectory]) for name in ("value", "error"))
    posterior = PolynomialPosterior(points, sign * values, errors=errors, prior=prior)
    generator = np.random.default_rng(seed)
    belief = _Assessment(posterior, points, space, sign, generator).belief()
    if np.ptp(values) >= SMALLEST_DIFFERENCE:
        return belief
    return replace(belief, notes=("all scores tried are the same: nothing tells the mixtures apart",))


class _Assessment:
    """The pool of mixtures that matter, and what draws from the belief say about each."""

    def __init__(
        self,
        posterior: PolynomialPosterior,
        tried: Floats,
        space: Space,
        sign: float,
        generator: np.random.Generator,
    ) -> None:
        self._posterior, self._space, self._sign = posterior, space, sign
        proposals = proposals_for(space)
        self._tried = len(tried)
        incumbents = tried[posterior.predicted().argsort()[:INCUMBENTS]]
        draws = [posterior.draw(generator) for _ in range(DRAWS)]
        lows = [proposals.lowest(draw, incumbents, generator)[:1] for draw in draws[:SEARCHED]]
        worst = proposals.lowest(-posterior.mean(), tried[-INCUMBENTS:], generator)[:1]
        self._points = np.vstack([tried, _untried(space, np.vstack([*lows, worst]), tried)])
        self._worst = int(np.abs(self._points - worst).max(1).argmin())
        self._values = np.array([draw.at(self._points) for draw in draws])
        self._mean, covariance = posterior.predict(self._points)
        self._deviation = np.sqrt(np.diag(covariance).clip(0))
        self._probability = np.bincount(self._values.argmin(1), minlength=len(self._points)) / DRAWS

    def belief(self) -> Belief:
        """What the draws say of all of them."""
        pick = int(self._mean[: self._tried].argmin())
        better = (self._values < self._values[:, [pick]]).mean(0)
        others = [k for k in self._mean.argsort(kind="stable") if better[k] >= DOUBT]
        untried = np.arange(self._tried, len(self._points))
        promising = untried[self._probability[untried].argsort(kind="stable")[::-1]]
        return Belief(
            pick=self._contender(pick),
            contenders=tuple(self._contender(k) for k in others[:LISTED]),
            next=tuple(self._mixture(k) for k in promising[:LISTED] if self._probability[k] > 0),
            regret=float((self._values[:, pick] - self._values.min(1)).mean()),
            worst=self._contender(self._worst),
            noise=self._posterior.noise,
            notes=self._posterior.notes,
        )

    def _mixture(self, k: int) -> MergingWeights:
        return self._space.mixture(self._points[k])

    def _contender(self, k: int) -> Contender:
        return Contender(
            self._mixture(k),
            float(self._sign * self._mean[k]),
            float(self._deviation[k]),
            float(self._probability[k]),
            bool(k < self._tried),
        )


def _untried(space: Space, points: Floats, tried: Floats) -> Floats:
    # Each new mixture once: descents on the simplex end beside each other, subsets and rows do not.
    if isinstance(space, Continuous):
        return distinct(points, tried)
    known = set(map(tuple, tried.tolist()))
    new = [point for point in dict.fromkeys(map(tuple, points.tolist())) if point not in known]
    return np.reshape(new, (-1, points.shape[1]))
