r"""What a race has shown: a posterior of every candidate's score over all E examples.

The E examples are a finite population, seen in a nested way: the leader on N of them, candidate i on the
first n_i. The vectors of differences to the leader, d_e = x_{leader,e} − x_{i,e} for i ≠ leader, are taken
as independent normal ones with mean μ and covariance Σ. With a flat prior on μ, nested samples have a
posterior in closed form (monotone missing data: Anderson, "Maximum likelihood estimates for a multivariate
normal distribution when some observations are missing", 1957; Little and Rubin, "Statistical analysis with
missing data", chapter 7):

    μ | seen ~ N(Λ⁻¹h, Λ⁻¹),   Λ = Σ_b m_b P_bᵀ Σ_bb⁻¹ P_b,   h = Σ_b P_bᵀ Σ_bb⁻¹ Σ_{e∈b} d_e,

a sum over blocks b of m_b examples that the same candidates were scored on. What is not seen is drawn given
what is, so a candidate that left early is judged also by later examples of candidates like it, and the
uncertainty shrinks to nothing at E of E (the finite-population correction). Student's t with N − 1 degrees
of freedom stands for the uncertainty of Σ: with two candidates this is the paired t-test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2m.support.arrays import Floats

#: Draws of the posterior: probabilities come out with a standard error of at most 0.008.
DRAWS = 4096
#: Weight, in examples, of the candidates' mean variance in each one's own variance.
VARIANCE_PRIOR = 1.0
#: Weight, in examples, of the prior correlation: 1/2, that of unrelated scores' differences to a third.
CORRELATION_PRIOR = 8.0
#: Added to the diagonal of matrices that are inverted, in units of the mean variance.
JITTER = 1e-9


@dataclass(frozen=True)
class Posterior:
    """What is believed about the scores of M candidates over all E examples."""

    best: Floats  #: probability that a candidate has the best score, or one equal to it [M]
    behind: Floats  #: expected amount behind the leader, in the score's unit, negative if ahead [M]
    behind_error: Floats  #: its standard error, with N − 1 degrees of freedom [M]


@dataclass(frozen=True)
class _Block:
    # Examples first to last (exclusive) of the order, which the first `width` rivals were scored on.
    first: int
    last: int
    width: int


def posterior(scores: Floats, seen: NDArray[np.int64], leader: int, examples: int, seed: int) -> Posterior:
    """Judge all candidates of a race by scores [M, N], higher is better, the same in any order of them."""
    # Candidate i's first `seen[i]` scores count, the leader's N are all seen; `seed` decides the draws.
    count = len(scores)
    if count == 1:
        return Posterior(np.ones(1), np.zeros(1), np.zeros(1))
    gaps = scores[leader] - scores
    means = np.array([gap[:n].mean() for gap, n in zip(gaps, seen, strict=True)])
    rivals = np.lexsort((means, -seen))
    rivals = rivals[rivals != leader]
    result = Posterior(np.ones(count), means.copy(), np.zeros(count))
    if bool((seen == examples).all()):
        result.best[:] = means <= 0
        return result
    scale = _scale(gaps[rivals], seen[rivals])
    if not scale:  # no example tells more than the first one does
        ties = means <= 0
        result.best[:] = ties / ties.sum()
        return result
    centre, covariance = _totals(gaps[rivals] / scale, seen[rivals], examples)
    result.behind[rivals] = centre * scale / examples
    result.behind_error[rivals] = np.sqrt(np.diag(covariance).clip(min=0)) * scale / examples
    everyone = np.zeros((DRAWS, count))
    everyone[:, rivals] = _draw(centre, covariance, gaps.shape[1] - 1, seed)
    slack = _half_step(scores, seen) / scale
    result.best[:] = (everyone <= everyone.min(axis=1, keepdims=True) + slack).mean(axis=0)
    return result


def _variances(gaps: Floats, seen: NDArray[np.int64]) -> Floats:
    return np.array([gap[:n].var(ddof=1) for gap, n in zip(gaps, seen, strict=True)])


def _scale(gaps: Floats, seen: NDArray[np.int64]) -> float:
    return float(np.sqrt(_variances(gaps, seen).mean()))


def _half_step(scores: Floats, seen: NDArray[np.int64]) -> float:
    # Right-or-wrong scores have totals in whole steps: the usual continuity correction of the normal.
    known = [row[:n] for row, n in zip(scores, seen, strict=True)]
    levels = np.unique(np.concatenate(known))
    return float(levels[1] - levels[0]) / 2 if len(levels) == 2 else 0.0


def _covariance(gaps: Floats, seen: NDArray[np.int64]) -> Floats:
    # Σ of the rivals' gaps, whose mean variance is 1, shrunk where little is seen. [R, R]
    rivals = len(gaps)
    raw = _variances(gaps, seen)
    variances = ((seen - 1) * raw + VARIANCE_PRIOR * raw.mean()) / (seen - 1 + VARIANCE_PRIOR)
    moves = np.zeros(gaps.shape)
    for move, gap, n in zip(moves, gaps, seen, strict=True):
        move[:n] = gap[:n] - gap[:n].mean()
    norms = np.sqrt(np.maximum((moves**2).sum(axis=1), variances * (seen - 1)))
    moves /= norms[:, None]
    trust = np.sqrt(seen / (seen + CORRELATION_PRIOR))
    distrust = np.sqrt(1 - trust**2)
    # both terms are Gram matrices, so the sum is one too
    correlation = np.outer(trust, trust) * (moves @ moves.T) + np.outer(distrust, distrust) / 2
    np.fill_diagonal(correlation, 1.0)
    covariance: Floats = correlation * np.sqrt(np.outer(variances, variances)) + JITTER * np.eye(rivals)
    return covariance


def _blocks(seen: NDArray[np.int64], examples: int) -> list[_Block]:
    # `seen` falls; the last block is the examples that no rival has seen.
    ends = sorted({*(int(n) for n in seen), examples})
    starts = [0, *ends[:-1]]
    return [_Block(a, b, int((seen >= b).sum())) for a, b in zip(starts, ends, strict=True)]


def _totals(gaps: Floats, seen: NDArray[np.int64], examples: int) -> tuple[Floats, Floats]:
    # The gaps' totals over all examples: centre, [R], and covariance, [R, R]. `seen` falls along the rivals.
    covariance = _covariance(gaps, seen)
    blocks = _blocks(seen, examples)
    mean, spread = _mean(gaps, covariance, blocks)
    known, noise = np.zeros(len(gaps)), np.zeros_like(covariance)
    weight = np.zeros_like(covariance)  # total = known + weight @ μ + noise
    for block in blocks:
        w, size = block.width, block.last - block.first
        slope = covariance[w:, :w] @ _inverse(covariance[:w, :w])
        shown = gaps[:w, block.first : block.last].sum(axis=1)
        known += np.concatenate([shown, slope @ shown])
        weight[w:, w:] += size * np.eye(len(gaps) - w)
        weight[w:, :w] -= size * slope
        noise[w:, w:] += size * (covariance[w:, w:] - slope @ covariance[:w, w:])
    return known + weight @ mean, weight @ spread @ weight.T + noise


def _mean(gaps: Floats, covariance: Floats, blocks: list[_Block]) -> tuple[Floats, Floats]:
    # The posterior of μ: its mean Λ⁻¹h, [R], and covariance Λ⁻¹, [R, R].
    precision, pull = np.zeros_like(covariance), np.zeros(len(gaps))
    for block in blocks:
        w = block.width
        inverse = _inverse(covariance[:w, :w])
        precision[:w, :w] += (block.last - block.first) * inverse
        pull[:w] += inverse @ gaps[:w, block.first : block.last].sum(axis=1)
    spread = _inverse(precision)
    return spread @ pull, spread


def _inverse(matrix: Floats) -> Floats:
    inverse = np.linalg.inv(matrix)
    return np.asarray((inverse + inverse.T) / 2, dtype=np.float64)


def _draw(centre: Floats, covariance: Floats, freedom: int, seed: int) -> Floats:
    # Student's t around the centre: [DRAWS, R]
    generator = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(min=0))  # a candidate seen whole has no variance
    heavy = np.sqrt(freedom / generator.chisquare(freedom, size=(DRAWS, 1)))
    draws = generator.standard_normal((DRAWS, len(centre))) @ root.T
    return np.asarray(centre + heavy * draws, dtype=np.float64)
