"""What a choice by each surrogate loses: on single targets, and where several targets count at once.

A *utility* is what a user wants of a mixture: the sum of some targets' scores, each in standard deviations of
its trained scores, so that they count alike. Every target alone, every pair and every triple is one. A
surrogate's utility is the same sum of its own scores. Its pick is the mixture where that is highest (ties:
fewer datasets, then the first), and its regret what the pick's trained utility lacks to the best one, as a
share of the range over mixtures.

On a single target the best dataset alone is often the best mixture, and whoever looks at the experts' scores
finds it. Those utilities whose best mixture is really mixed are counted apart.

Intervals are for *new targets*: a jackknife of targets, each with all its utilities, since those overlap. The
targets' models are the same, so the variance from training seeds is added (as in `leads`: each mixture in
turn gets its second seed's scores on all targets). Which datasets there are is not varied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.fidelity.intervals import MANY, Interval, IntervalEstimate
from analysis.fidelity.leads import FEWEST_TARGETS, TARGETS
from analysis.fidelity.surrogates import MERGED, SURROGATES, Contest
from m2m.support.arrays import Floats, Ints

#: Most pairs and triples; of more as many are drawn.
MOST = 2000
#: Kinds of utilities, in words.
SINGLE, SEVERAL, MIXED = "single targets", "pairs and triples", "pairs and triples whose best is mixed"


@dataclass(frozen=True)
class Picked:
    """One surrogate's choice for one utility.

    Attributes:
        targets: Names of the utility's targets; one, two or three.
        surrogate: A key of `SURROGATES`.
        picked: The mixture that is best by it.
        size: Datasets of that mixture.
        regret: Trained utility lost against the best mixture, as a share of the range.
        oracle: The mixture whose trained utility is best.
        oracle_size: Datasets of that mixture.
    """

    targets: tuple[str, ...]
    surrogate: str
    picked: str
    size: int
    regret: float
    oracle: str
    oracle_size: int


@dataclass(frozen=True)
class Choices:
    """What the surrogates' picks lose over one kind of utilities.

    Attributes:
        utilities: How many there are.
        best_is_mixed: Of these, those whose best mixture has at least two datasets.
        picked_one: Of these, those for which merging picks a single dataset, that is, its expert.
        regret: Surrogate to its mean regret, as a share of the range, with the interval for new targets.
        lead: Surrogate to its mean regret minus merging's: above zero, merging chose better.
    """

    utilities: int
    best_is_mixed: int
    picked_one: int
    regret: dict[str, IntervalEstimate]
    lead: dict[str, IntervalEstimate]


def choose(contests: Sequence[Contest], seed: int) -> tuple[dict[str, Choices], list[Picked], str]:
    """Let every surrogate choose for every utility.

    Args:
        contests: The targets.
        seed: Decides which pairs and triples are taken if there are more than `MOST`.

    Returns:
        Kind of utilities to what the choices lose, every single choice, and why there are none (else empty).
    """
    board = _Board.of(contests)
    if isinstance(board, str):
        return {}, [], board
    utilities = _utilities(len(board.targets), seed)
    found = _Regrets.of(board, utilities)
    kinds = {SINGLE: found.lengths == 1, SEVERAL: found.lengths > 1}
    choices = {kind: _summary(found, rows) for kind, rows in kinds.items() if np.any(rows)}
    if np.any(mixed := kinds[SEVERAL] & found.mixed):
        choices[MIXED] = _summary(found, mixed)
    return choices, list(found.rows()), ""


def _utilities(targets: int, seed: int) -> list[tuple[int, ...]]:
    """Return single targets, pairs and triples; of too many pairs and triples as many as fit, drawn."""
    single = [(target,) for target in range(targets)]
    pairs, triples = math.comb(targets, 2), math.comb(targets, 3)
    several = (rows for k in (2, 3) for rows in combinations(range(targets), k))
    if pairs + triples > MOST:
        chosen = set(np.random.default_rng(seed).choice(pairs + triples, MOST, replace=False).tolist())
        several = (rows for number, rows in enumerate(several) if number in chosen)
    return single + list(islice(several, MOST))


@dataclass(frozen=True)
class _Board:
    """Gains of the mixtures that every target has, fewest datasets first, in each target's deviations."""

    targets: tuple[str, ...]
    labels: tuple[str, ...]
    sizes: Ints
    gains: dict[str, Floats]  # [T, C] each
    trained: Floats
    again: Floats

    @classmethod
    def of(cls, contests: Sequence[Contest]) -> _Board | str:
        """Put the targets beside each other; why they cannot be, otherwise."""
        known = [{label: row for row, label in enumerate(c.points.labels)} for c in contests]
        shared = [label for label in known[0] if all(label in rows for rows in known)] if known else []
        if len(shared) < 2:
            return f"{len(shared)} mixtures are scored on every target: nothing to choose from"
        sizes = dict(zip(contests[0].points.labels, contests[0].points.sizes.tolist(), strict=True))
        shared.sort(key=sizes.__getitem__)  # stable: ties of a choice go to fewer datasets, then to the first
        order = [[rows[label] for label in shared] for rows in known]

        def all_of(parts: Sequence[Floats]) -> Floats:
            return np.array([part[rows] for part, rows in zip(parts, order, strict=True)])

        trained = all_of([c.trained for c in contests])
        names = [name for name in SURROGATES if all(name in c.gains for c in contests)]
        gains = {name: all_of([c.gains[name] for c in contests]) for name in names}
        if broken := int(np.sum(~np.all(np.isfinite([trained, *gains.values()]), axis=(0, 1)))):
            return f"{broken} of {len(shared)} mixtures have a score that is not finite"
        spread = np.std(trained, axis=1)
        varies = np.ptp(trained, axis=1) > 0
        if not np.any(varies):
            return "all trained scores are equal: no choice is better than another"
        scale = spread[varies, None]
        return cls(
            targets=tuple(c.points.target for c, kept in zip(contests, varies, strict=True) if kept),
            labels=tuple(shared),
            sizes=np.array([sizes[label] for label in shared]),
            gains={name: gain[varies] / scale for name, gain in gains.items()},
            trained=trained[varies] / scale,
            again=all_of([c.again for c in contests])[varies] / scale,
        )


def _sums(values: Floats, utilities: Sequence[tuple[int, ...]]) -> Floats:
    """Add up the targets' values [T, ...] of each utility, one after the other. [U, ...]."""
    # Not as a product of matrices: equal sums must have equal bits, or ties are broken at random.
    return np.array([sum(values[target] for target in targets) for targets in utilities])


@dataclass(frozen=True)
class _Regrets:
    """Regrets over U utilities: as they are, and with one of C mixtures at a time in its second seed."""

    board: _Board
    utilities: list[tuple[int, ...]]
    picks: dict[str, Ints]  # [U]
    best: Ints  # [U]
    regret: dict[str, Floats]  # [1 + C, U], first as they are

    @classmethod
    def of(cls, board: _Board, utilities: list[tuple[int, ...]]) -> _Regrets:
        picks = {name: np.argmax(_sums(gain, utilities), axis=1) for name, gain in board.gains.items()}
        truths = list(_truths(board, utilities))
        regret = {name: np.array([_lost(truth, rows) for truth in truths]) for name, rows in picks.items()}
        return cls(board, utilities, picks, np.argmax(truths[0], axis=1), regret)

    @property
    def lengths(self) -> Ints:
        """Targets of each utility. [U]."""
        return np.array([len(targets) for targets in self.utilities])

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """Whether the best mixture of each utility has at least two datasets. [U]."""
        return self.board.sizes[self.best] > 1

    def holds(self) -> NDArray[np.bool_]:
        """Whether each utility has a target. [T, U]."""
        return np.array(
            [[target in targets for targets in self.utilities] for target in range(len(self.board.targets))]
        )

    def rows(self) -> Iterator[Picked]:
        """List every choice."""
        labels, sizes = self.board.labels, self.board.sizes
        for number, targets in enumerate(self.utilities):
            names, best = tuple(self.board.targets[target] for target in targets), self.best[number]
            for name, picks in self.picks.items():
                pick, lost = picks[number], float(self.regret[name][0, number])
                yield Picked(
                    names, name, labels[pick], int(sizes[pick]), lost, labels[best], int(sizes[best])
                )


def _truths(board: _Board, utilities: Sequence[tuple[int, ...]]) -> Iterator[Floats]:
    """Yield the trained utilities, as they are and with one mixture at a time in its second seed. [U, C]."""
    truth, again = _sums(board.trained, utilities), _sums(board.again, utilities)
    yield truth
    both = np.all(np.isfinite(board.again), axis=0)
    for mixture in np.flatnonzero(both) if len(both) <= MANY else ():
        other = truth.copy()
        other[:, mixture] = again[:, mixture]
        yield other


def _lost(truth: Floats, picks: Ints) -> Floats:
    """Return what picks [U] lose of the range of trained utilities [U, C]. [U]."""
    best = np.max(truth, axis=1)
    lost: Floats = (best - truth[np.arange(len(truth)), picks]) / (best - np.min(truth, axis=1))
    return lost


def _summary(found: _Regrets, rows: NDArray[np.bool_]) -> Choices:
    picked = found.board.sizes[found.picks[MERGED][rows]]
    regrets = found.regret
    of_merging = regrets[MERGED]
    return Choices(
        utilities=int(np.sum(rows)),
        best_is_mixed=int(np.sum(found.mixed[rows])),
        picked_one=int(np.sum(picked == 1)),
        regret={name: _mean(found, rows, values, _SHARE) for name, values in regrets.items()},
        lead={
            name: _mean(found, rows, values - of_merging, _DIFFERENCE)
            for name, values in regrets.items()
            if name != MERGED
        },
    )


@dataclass(frozen=True)
class _Scale:
    """Where a mean is about normal and its range has no end that an interval could pass."""

    there: Callable[[Floats], Floats]
    back: Callable[[Floats], Floats]


_SHARE = _Scale(
    lambda mean: np.arcsin(np.sqrt(np.clip(mean, 0, 1))), lambda z: np.sin(np.clip(z, 0, math.pi / 2)) ** 2
)
_DIFFERENCE = _Scale(lambda mean: np.arctanh(np.clip(mean, -1, 1)), np.tanh)


def _mean(found: _Regrets, rows: NDArray[np.bool_], values: Floats, scale: _Scale) -> IntervalEstimate:
    """Return the mean over chosen utilities [U] of values [1 + C, U], with its interval for new targets."""
    mean, count = float(np.mean(values[0, rows])), int(np.sum(rows))
    interval = _interval(found, rows, values, scale)
    return IntervalEstimate(mean, interval.low, interval.high, count, interval.method, interval.reason)


def _interval(found: _Regrets, rows: NDArray[np.bool_], values: Floats, scale: _Scale) -> Interval:
    targets = len(found.board.targets)
    if targets < FEWEST_TARGETS:
        return Interval(None, None, TARGETS, f"cannot be told from fewer than {FEWEST_TARGETS} targets")
    kept = rows & ~found.holds()
    if not np.all(np.any(kept, axis=1)):
        return Interval(None, None, TARGETS, "one target is in every one of these utilities")
    with np.errstate(divide="ignore", invalid="ignore"):  # a mean at the end of its range is named below
        means = scale.there(np.mean(values[:, rows], axis=1))
        without = scale.there(np.array([np.mean(values[0, some]) for some in kept]))
        of_targets = (targets - 1) * float(np.var(without))
        variance = of_targets + float(np.sum((means[1:] - means[0]) ** 2)) / 2
    if not math.isfinite(variance):
        return Interval(None, None, TARGETS, "the mean is at the end of its range")
    if of_targets == 0 and (np.any(values[0, rows]) or scale is not _SHARE):
        return Interval(None, None, TARGETS, "the same for every target: too few to tell, not certainty")
    if of_targets == 0:
        # No loss on T targets: the chance of one, and so the mean, is below Clopper and Pearson's bound.
        return Interval(0.0, 1 - 0.025 ** (1 / targets), f"{TARGETS} (Clopper-Pearson: no loss on any)")
    reach = float(stats.t.ppf(0.975, targets - 1)) * math.sqrt(variance)
    low, high = scale.back(means[0] + np.array([-reach, reach]))
    doubt = "" if len(values) > 1 else "training seeds, which targets share, are not included"
    return Interval(float(low), float(high), TARGETS, doubt)
