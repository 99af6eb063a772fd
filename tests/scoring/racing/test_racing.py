"""Races: exact where all is seen, indifferent to names, units and difficulty, and never over budget."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from m2m.errors import InputError
from m2m.scoring.racing import RaceResult, RecordedCandidates, race
from m2m.scoring.racing.rules import next_rung, next_step, spread_order, standing
from m2m.support.arrays import Floats

#: Whole numbers, so that sums are exact and ties are ties.
WHOLE = st.integers(-8, 8).map(float)


@st.composite
def tables(draw: st.DrawFn, least: int = 2) -> Floats:
    shape = (draw(st.integers(2, 7)), draw(st.integers(least, 40)))
    table: Floats = draw(arrays(np.float64, shape, elements=WHOLE))
    return table


def run(scores: Any, budget: float, *, higher: bool = True, **options: Any) -> RaceResult:
    return race(RecordedCandidates(scores, higher_is_better=higher), budget, **options)


def normal(seed: int, candidates: int, examples: int, spread: float) -> Floats:
    """Candidates `spread` standard deviations apart on examples of different difficulty."""
    generator = np.random.default_rng(seed)
    skill = spread * generator.standard_normal((candidates, 1))
    difficulty = 3 * generator.standard_normal(examples)
    scores: Floats = skill + difficulty + generator.standard_normal((candidates, examples))
    return scores


# ---- what is always so ----


@settings(max_examples=30)
@given(tables(least=1))
def test_what_was_seen_whole_is_judged_exactly(table: Floats) -> None:
    result = run(table, 1.0, confidence=1 - 1e-12)
    totals = table.sum(axis=1)
    if (result.seen == table.shape[1]).all():
        assert totals[result.winner] == totals.max()
        assert result.probabilities.tolist() == (totals == totals.max()).astype(float).tolist()
        assert np.allclose(result.behind, (totals.max() - totals) / table.shape[1])
        assert not result.behind_error.any()


@settings(max_examples=30)
@given(tables(), st.floats(0.3, 1), st.integers(0, 3))
def test_the_ledger_is_right_and_dropping_is_for_good(table: Floats, budget: float, seed: int) -> None:
    count = len(table)
    if int(budget * table.size) < 2 * count:
        return
    result = run(table, budget, seed=seed)
    assert result.evaluations + result.saved == table.size
    assert result.evaluations == sum(turn.evaluations for turn in result.rounds) <= budget * table.size
    assert result.merges == sum(len(turn.candidates) for turn in result.rounds)
    for one, after in zip(result.rounds, result.rounds[1:], strict=False):
        assert set(after.candidates) == set(one.candidates) - set(one.hopeless) - set(one.displaced)
        assert after.examples > one.examples
    last = result.rounds[-1]
    assert result.winner == last.leader not in last.hopeless + last.displaced
    assert result.seen.max() == last.examples == result.seen[result.winner]
    assert ((result.probabilities >= 0) & (result.probabilities <= 1)).all()
    assert result.contenders[0] == result.winner
    assert len(set(result.contenders)) == len(result.contenders)


@settings(max_examples=30)
@given(tables(), st.data())
def test_names_do_not_matter(table: Floats, data: st.DataObject) -> None:
    table = table + np.arange(len(table))[:, None] / 1024  # no two alike
    order = data.draw(st.permutations(range(len(table))))
    budget = 0.5 if table.shape[1] > 4 else 1.0
    one, other = run(table, budget), run(table[order], budget)
    assert order[other.winner] == one.winner
    assert other.evaluations == one.evaluations
    assert np.allclose(other.probabilities, one.probabilities[order], atol=0.03)  # four errors of the draws


@settings(max_examples=30)
@given(tables(least=8), st.sampled_from([2.0**-30, 0.5, 4.0, 2.0**40]), st.data())
def test_neither_unit_nor_difficulty_nor_direction_matters(
    table: Floats, unit: float, data: st.DataObject
) -> None:
    difficulty = data.draw(arrays(np.float64, table.shape[1], elements=WHOLE))
    one = run(table, 0.6)
    for other in (
        run(unit * (table + difficulty), 0.6),
        run(-unit * (table + difficulty), 0.6, higher=False),
    ):
        assert other.rounds == one.rounds
        assert other.winner == one.winner
        if len(np.unique(table)) != 2 and len(np.unique(table + difficulty)) != 2:
            assert other.probabilities.tolist() == one.probabilities.tolist()
            assert np.allclose(other.behind, unit * one.behind, rtol=1e-12, atol=0)


def test_the_same_seed_is_the_same_race_and_another_one_is_not() -> None:
    table = normal(0, 6, 90, 0.1)
    one, again, other = (run(table, 0.3, seed=seed) for seed in (1, 1, 2))
    assert one.rounds == again.rounds
    assert one.probabilities.tolist() == again.probabilities.tolist()
    assert one.probability != other.probability


# ---- dropping ----


def test_a_clear_winner_is_cheap_and_sure() -> None:
    table = normal(1, 12, 400, 0.0)
    table[7] += 5
    result = run(table, 0.2)
    assert (result.winner, result.contenders) == (7, (7,))
    assert result.probability > 0.999
    assert result.evaluations == 12 * 20  # √400 examples were enough
    assert set(result.rounds[0].hopeless) == set(range(12)) - {7}


def test_with_budget_for_all_nobody_is_displaced() -> None:
    result = run(normal(2, 8, 50, 0.1), 1.0)
    assert not any(turn.displaced for turn in result.rounds)


def test_close_candidates_share_the_probability() -> None:
    result = run(normal(3, 6, 300, 0.001), 0.1)
    assert result.probability < 0.7
    assert len(result.contenders) > 2


def test_equal_candidates_are_equally_likely_until_all_is_seen() -> None:
    for level in (np.zeros((4, 50)), np.tile(np.arange(50.0), (4, 1))):
        partly, wholly = run(level, 0.5), run(level, 1.0)
        assert partly.probabilities.tolist() == [0.25] * 4
        assert partly.contenders == (0, 1, 2, 3)
        assert wholly.winner == 0
        assert wholly.probabilities.tolist() == [1.0] * 4


def test_one_candidate_has_won() -> None:
    result = run(np.zeros((1, 9)), 1.0)
    assert (result.winner, result.probability, result.evaluations, result.rounds) == (0, 1.0, 0, ())


def test_a_nearly_equal_twin_does_not_hide_the_winner() -> None:
    table = normal(4, 5, 200, 0.5)
    table[1] = table[0] + 1e-9 * normal(5, 1, 200, 0)
    result = run(table, 0.5)
    assert np.isfinite(result.probabilities).all()


# ---- how sure ----


def test_the_stated_probability_is_what_happens() -> None:
    said, happened, held = [], [], 0
    for seed in range(150):
        table = normal(seed, 8, 60, 0.3)
        result = run(table, 0.35, seed=seed)
        best = int(table.sum(axis=1).argmax())
        said.append(result.probability)
        happened.append(result.winner == best)
        held += best in result.contenders
    # each race is a coin of its stated probability: the number of hits has this standard deviation
    deviation = np.sqrt(sum(p * (1 - p) for p in said))
    assert abs(sum(said) - sum(happened)) < 4 * deviation
    sure = [hit for p, hit in zip(said, happened, strict=True) if p > 0.9]
    assert len(sure) > 25
    assert np.mean(sure) > 0.8
    assert held > 0.95 * 150 - 4 * np.sqrt(0.95 * 0.05 * 150)


def test_two_candidates_get_the_paired_t_test() -> None:
    from scipy.stats import t

    table = normal(6, 2, 500, 0.0)
    table[1] += 0.05
    result = run(table, 200, confidence=0.9999)
    seen, left = result.seen[0], 500 - result.seen[0]
    shown = spread_order(500, 0)[:seen]
    gaps = table[result.winner, shown] - table[1 - result.winner, shown]
    error = gaps.std(ddof=1) * np.sqrt(1 / seen - 1 / 500)
    assert left > 0
    assert result.probability == pytest.approx(t.cdf(gaps.mean() / error, seen - 1), abs=0.02)
    assert result.behind[1 - result.winner] == pytest.approx(gaps.mean())
    assert result.behind_error[1 - result.winner] == pytest.approx(error)


def test_the_ledger_of_right_and_wrong_counts_ties_as_best() -> None:
    table = np.zeros((2, 40))
    table[0, ::2] = table[1, 1::2] = 1  # twenty right each
    result = run(table, 1.0, confidence=0.999)
    assert result.probabilities.tolist() == [1.0, 1.0]
    assert run(table, 40, confidence=0.999).probability > 0.5


# ---- examples and rungs ----


@given(st.integers(1, 200), st.integers(0, 9))
def test_every_beginning_is_spread_over_the_examples(count: int, seed: int) -> None:
    order = spread_order(count, seed)
    assert sorted(order) == list(range(count))
    for n in range(1, count + 1):
        first = sorted(order[:n])
        steps = np.diff([*first, first[0] + count])
        assert steps.max() <= 4 * count / n + 2  # no gap of more than two of the finest parts


def test_every_example_is_as_likely_to_come_first() -> None:
    counts = np.zeros(3)
    for seed in range(3000):
        counts[spread_order(3, seed)[:2]] += 1
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(3000 * 2 / 3 * 1 / 3)


def test_the_chance_is_the_paired_t_of_a_finite_population() -> None:
    from scipy.stats import t

    table = normal(7, 2, 12, 0.1)
    stand = standing(table, 30)
    gaps = table[stand.leader] - table[1 - stand.leader]
    error = gaps.std(ddof=1) * np.sqrt(1 / 12 - 1 / 30)
    assert stand.order.tolist() == [stand.leader, 1 - stand.leader]
    assert stand.chance[1 - stand.leader] == pytest.approx(t.sf(gaps.mean() / error, 11))
    assert stand.chance[stand.leader] == 1


@given(st.integers(2, 300), st.integers(0, 500), st.integers(1, 500), st.integers(0, 10**6))
def test_a_rung_is_paid_for(candidates: int, seen: int, more: int, left: int) -> None:
    examples = seen + more
    if not seen and left < 2 * candidates:
        return
    rung = next_rung(candidates, seen, examples, left)
    if seen >= 2:
        assert seen <= rung.examples <= examples
        assert (rung.examples - seen) * candidates <= left
        assert 2 <= rung.places <= candidates
        step = next_step(seen, rung, examples)
        assert step == min(2 * seen, rung.examples)


# ---- bad input ----


def test_bad_scores_are_named() -> None:
    table = normal(0, 3, 30, 1)
    table[1, 17] = np.nan
    with pytest.raises(InputError, match=r"score of candidate 1 on example 17 is nan"):
        run(table, 1.0, confidence=0.999999)

    class Short(RecordedCandidates):
        def values(self, candidates: Any, examples: Any) -> Floats:
            return super().values(candidates, examples)[:, 1:]

    with pytest.raises(
        InputError, match=r"asked for 3 candidates on 6 examples, got scores of shape \[3, 5\]"
    ):
        race(Short(table, higher_is_better=True), 1.0)
    for shape in ((0, 3), (3, 0), (3,)):
        with pytest.raises(
            InputError, match=re.escape(f"must be [M, E], a row a candidate; got shape {[*shape]}")
        ):
            RecordedCandidates(np.zeros(shape), higher_is_better=True)


@pytest.mark.parametrize("budget", [0, -3, 0.0, 1.5, float("nan"), float("inf"), True])
def test_a_budget_that_makes_no_sense(budget: float) -> None:
    with pytest.raises(InputError, match=r"race's budget is a number of example evaluations"):
        run(normal(0, 3, 30, 1), budget)


def test_too_small_a_budget_names_the_least() -> None:
    table = normal(0, 5, 30, 1)
    for budget in (9, 0.05):
        with pytest.raises(InputError, match=r"5 candidates need at least 10 \(share 0.0667 of 150\)"):
            run(table, budget)
    assert run(table, 10).evaluations == 10
    assert run(table, 0.0667).evaluations == 10


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95])
def test_a_confidence_that_makes_no_sense(confidence: float) -> None:
    with pytest.raises(InputError, match=r"confidence must lie between 0 and 1"):
        run(normal(0, 3, 30, 1), 0.5, confidence=confidence)
