"""Race M candidates on E examples: score all on a few, drop the hopeless, score the rest on more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from m2m.errors import InputError
from m2m.scoring.racing.candidates import Candidates
from m2m.scoring.racing.posterior import posterior
from m2m.scoring.racing.rules import allowed_evaluations, next_rung, next_step, spread_order, standing
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Round:
    """One round of a race.

    Attributes:
        candidates: Numbers of the candidates that were scored.
        examples: Number of examples that they have been scored on by now.
        evaluations: Example evaluations of this round.
        leader: Number of the candidate with the best mean so far.
        hopeless: Numbers of those dropped because they cannot be the best, by the confidence asked for.
        displaced: Numbers of those dropped because the budget does not pay for them.
    """

    candidates: tuple[int, ...]
    examples: int
    evaluations: int
    leader: int
    hopeless: tuple[int, ...]
    displaced: tuple[int, ...]


@dataclass(frozen=True)
class RaceResult:
    """Outcome of a race; candidates go by their numbers in [0, M).

    Attributes:
        winner: The candidate with the best mean of those never dropped; ties go to the smaller number.
        probability: Probability that no candidate has a better score than the winner over all E examples.
        probabilities: The same of each candidate. [M]
        contenders: The candidates, winner first, then by falling probability, that together hold the
            confidence asked for: the rest is told apart from the winner, these are not.
        behind: Expected amount behind the winner over all E examples, in the metric's unit. [M]
        behind_error: Its standard error. [M]
        seen: Examples each candidate was scored on. [M]
        examples: E.
        rounds: What happened, in order.
    """

    winner: int
    probability: float
    probabilities: Floats = field(repr=False)
    contenders: tuple[int, ...]
    behind: Floats = field(repr=False)
    behind_error: Floats = field(repr=False)
    seen: NDArray[np.int64] = field(repr=False)
    examples: int
    rounds: tuple[Round, ...] = field(repr=False)

    @property
    def evaluations(self) -> int:
        """Example evaluations paid for: one is one candidate on one example."""
        return int(self.seen.sum())

    @property
    def saved(self) -> int:
        """Example evaluations that scoring every candidate on every example would have cost on top."""
        return len(self.seen) * self.examples - self.evaluations

    @property
    def merges(self) -> int:
        """Times a candidate was taken up, so merged models that were made: a race merges once a round."""
        return sum(len(turn.candidates) for turn in self.rounds)


def race(candidates: Candidates, budget: float, *, confidence: float = 0.95, seed: int = 0) -> RaceResult:
    """Find the best candidate without scoring every candidate on every example.

    All candidates in the race are scored on the same examples, so differences are paired. A candidate is
    dropped when its chance to be as good as the leader over all E examples is at most
    (1 − confidence)/(M − 1), and, where the budget cannot take everybody to the end, when half of the others
    stand better at the end of a rung (see `m2m.scoring.racing.rules`). Nobody comes back.

    Args:
        candidates: M candidates, scored when asked (`MergedCandidates`) or before (`RecordedCandidates`).
        budget: Most example evaluations: an int is their number, a float in (0, 1] the share of all M·E.
        confidence: In (0, 1); decides who is hopeless and how many contenders there are.
        seed: Decides the order of the examples and the draws behind the probabilities.

    Returns:
        The winner, how sure that is, and what it cost.

    Raises:
        InputError: If the budget or confidence makes no sense, the budget is too small (names the least), or
            a score is not a finite number.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}")
    course = _Course(candidates, allowed_evaluations(budget, candidates.count, candidates.examples), seed)
    course.run((1 - confidence) / max(1, candidates.count - 1))
    return course.result(confidence, seed)


class _Course:
    # A race under way: what has been seen, who is left, what is left of the budget.

    def __init__(self, candidates: Candidates, budget: int, seed: int) -> None:
        self._candidates = candidates
        self._sign = 1.0 if candidates.higher_is_better else -1.0
        self._order = spread_order(candidates.examples, seed)
        self._scores = np.zeros((candidates.count, candidates.examples))
        self._seen = np.zeros(candidates.count, dtype=np.int64)
        self._left = budget
        self._alive = list(range(candidates.count))
        self._done = 0
        self._rounds: list[Round] = []

    def run(self, doubt: float) -> None:
        examples = self._candidates.examples
        while len(self._alive) > 1 and self._done < examples:
            rung = next_rung(len(self._alive), self._done, examples, self._left)
            if rung.examples == self._done:
                return
            while len(self._alive) > 1 and self._done < rung.examples:
                self._score(next_step(self._done, rung, examples))
                self._drop(doubt, rung.places if self._done == rung.examples else None)
                if len(self._alive) <= rung.places < len(self._rounds[-1].candidates):
                    break  # the hopeless have made the room that the rung is for

    def _score(self, reached: int) -> None:
        examples = self._order[self._done : reached]
        scores = np.asarray(self._candidates.values(self._alive, examples), dtype=np.float64)
        _check(scores, self._alive, examples)
        self._scores[self._alive, self._done : reached] = self._sign * scores
        self._seen[self._alive] = self._done = reached
        self._left -= scores.size

    def _drop(self, doubt: float, places: int | None) -> None:
        before, examples = self._alive, self._candidates.examples
        shown = self._scores[before, : self._done]
        if self._done == examples:  # in the examples' own order: to the bit the means of scoring all
            shown = shown[:, np.argsort(self._order)]
        table = standing(shown, examples)
        able = [before[row] for row in table.order if table.chance[row] > doubt]
        kept = able if places is None else able[:places]
        self._alive = sorted(kept)
        self._rounds.append(
            Round(
                candidates=tuple(before),
                examples=self._done,
                evaluations=len(before) * (self._done - (self._rounds[-1].examples if self._rounds else 0)),
                leader=before[table.leader],
                hopeless=tuple(m for m in before if m not in able),
                displaced=tuple(sorted(able[len(kept) :])),
            )
        )

    def result(self, confidence: float, seed: int) -> RaceResult:
        scores = self._scores[:, : self._done]
        winner = self._rounds[-1].leader if self._rounds else 0
        belief = posterior(scores, self._seen, winner, self._candidates.examples, seed)
        return RaceResult(
            winner=winner,
            probability=float(belief.best[winner]),
            probabilities=belief.best,
            contenders=_contenders(belief.best, winner, confidence),
            behind=belief.behind,
            behind_error=belief.behind_error,
            seen=self._seen,
            examples=self._candidates.examples,
            rounds=tuple(self._rounds),
        )


def _check(scores: Floats, candidates: Sequence[int], examples: Sequence[int]) -> None:
    wanted = (len(candidates), len(examples))
    if scores.shape != wanted:
        raise InputError(
            f"a race asked for {wanted[0]} candidates on {wanted[1]} examples, "
            f"got scores of shape {list(scores.shape)}"
        )
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"score of candidate {candidates[row]} on example {examples[column]} is {scores[row, column]}; "
            "a race needs finite scores"
        )


def _contenders(best: Floats, winner: int, confidence: float) -> tuple[int, ...]:
    rest = [int(m) for m in np.argsort(-best, kind="stable") if m != winner]
    enough = confidence * best.sum()  # ties count for each of the tied, so that the sum can exceed 1
    chosen, held = [winner], float(best[winner])
    for m in rest:
        if held >= enough:
            break
        chosen.append(m)
        held += float(best[m])
    return tuple(chosen)
