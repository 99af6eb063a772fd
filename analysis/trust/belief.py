"""The belief in every mixture's trained score: whole landscapes drawn, hyperparameters by their evidence.

Hyperparameters have a log-normal prior, and are drawn from their posterior by elliptical slice sampling
(Murray, Adams and MacKay 2010), which needs no tuning. Several targets share all of them but two factors of
their own, on all σ and on the noise, so that targets with the same few trainings teach each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.trust.landscape import Landscape
from analysis.trust.process import OWN, SHARED, Hyperparameters, Process
from m2m.errors import InputError
from m2m.support.arguments import argument
from m2m.support.arrays import Floats

#: Hyperparameters that are kept, steps between them, and steps before the first.
KEPT, APART, BEFORE = 150, 2, 50
#: Landscapes drawn for each of them.
EACH = 27
#: Fewest trainings of two or more datasets: one cannot tell how far training goes beyond merging.
FEWEST = 2


@dataclass(frozen=True)
class Belief:
    """Trained scores of one target's mixtures as they may be; each is a mean over training seeds.

    Attributes:
        landscape: The scores it is made from.
        mean: Expected trained score. [C]
        draws: Whole landscapes drawn. [D, C]
        hyper: The hyperparameters behind them, in standard deviations of the merged scores. [H]
    """

    landscape: Landscape
    mean: Floats
    draws: Floats
    hyper: tuple[Hyperparameters, ...]

    @property
    def sd(self) -> Floats:
        """Standard deviation of each mixture's trained score. [C]."""
        deviation: Floats = np.std(self.draws, axis=0)
        return deviation

    @property
    def noise(self) -> Floats:
        """How far one training's score may lie off its mixture's, in the scores' unit. [H]."""
        return self.landscape.unit * np.array([hyper.noise for hyper in self.hyper])


def believe(landscapes: Sequence[Landscape], seed: int = 0) -> list[Belief]:
    """Form the belief in every mixture's trained score.

    Args:
        landscapes: Each target's scores, of the same run or of runs alike.
        seed: Seed of all draws.

    Returns:
        A belief a target.

    Raises:
        InputError: If a target has fewer than `FEWEST` trained mixtures of two or more datasets.
    """
    for landscape in landscapes:
        if (trained := landscape.trained_several) < FEWEST:
            raise InputError(
                f"target {landscape.target!r}: {trained} mixtures of two or more datasets are trained, "
                f"wanted at least {FEWEST}; {argument('budget')} says which to train"
            )
    rng = np.random.default_rng(seed)
    processes = [Process(landscape) for landscape in landscapes]
    hyper = zip(*_posterior(processes, rng), strict=True)
    return [_drawn(process, own, rng) for process, own in zip(processes, hyper, strict=True)]


def _drawn(process: Process, hyper: tuple[Hyperparameters, ...], rng: np.random.Generator) -> Belief:
    landscape = process.landscape
    means, draws = zip(*(process.condition(each, EACH, rng) for each in hyper), strict=True)
    mean, drawn = np.mean(means, axis=0), np.concatenate(draws)
    return Belief(
        landscape, landscape.merged + landscape.unit * mean, landscape.merged + landscape.unit * drawn, hyper
    )


def _posterior(processes: Sequence[Process], rng: np.random.Generator) -> list[list[Hyperparameters]]:
    """Draw hyperparameters, one a target, `KEPT` times. [KEPT, T]."""
    shared, own = np.zeros(SHARED), [np.zeros(OWN) for _ in processes]
    kept = []

    def together(at: Floats) -> float:
        pairs = zip(processes, own, strict=True)
        return sum(process.log_evidence(Hyperparameters.at(at, its)) for process, its in pairs)

    for step in range(BEFORE + KEPT * APART):
        shared = slice_step(shared, together, rng)
        for target, process in enumerate(processes):
            own[target] = slice_step(own[target], _alone(process, shared), rng)
        if step >= BEFORE and (step - BEFORE) % APART == 0:
            kept.append([Hyperparameters.at(shared, its) for its in own])
    return kept


def _alone(process: Process, shared: Floats) -> Callable[[Floats], float]:
    return lambda own: process.log_evidence(Hyperparameters.at(shared, own))


def slice_step(at: Floats, log_likelihood: Callable[[Floats], float], rng: np.random.Generator) -> Floats:
    """Take one step of a chain whose stationary law is a standard normal prior times a likelihood.

    Elliptical slice sampling: the ellipse through `at` and a draw from the prior is searched, in shrinking
    brackets, for a point whose likelihood is above a random share of the present one.

    Args:
        at: Where the chain is. [d]
        log_likelihood: Logarithm of the likelihood at a point [d].
        rng: Where draws come from.

    Returns:
        Where the chain goes. [d]
    """
    other = rng.standard_normal(len(at))
    floor = log_likelihood(at) + np.log1p(-rng.random())
    angle = rng.uniform(0, 2 * np.pi)
    low, high = angle - 2 * np.pi, angle
    while True:
        proposal: Floats = at * np.cos(angle) + other * np.sin(angle)
        if log_likelihood(proposal) >= floor:
            return proposal
        low, high = (angle, high) if angle < 0 else (low, angle)
        angle = rng.uniform(low, high)
