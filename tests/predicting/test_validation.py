"""Cross-validation leaks nothing: what judges a fold does not change with the fold's scores."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from m2m.predicting import FAMILIES
from m2m.predicting.validation import (
    CrossValidation,
    best_three,
    choose,
    combined,
    folds,
    spearman,
    stack_weights,
)
from m2m.support.arrays import Floats

CHEAP = [FAMILIES[name] for name in ("linear", "ridge", "scheffe")]
RNG = np.random.default_rng(0)
X = RNG.dirichlet(np.ones(4), 30)
Y = X @ np.arange(4.0) + X[:, 0] * X[:, 1] + RNG.normal(0, 0.05, 30)


def ignore(what: str) -> None:
    """Count nothing."""


@given(rows=st.integers(5, 60), count=st.integers(2, 5), seed=st.integers(0, 9))
def test_folds_deal_every_row_once(rows: int, count: int, seed: int) -> None:
    parts = folds(rows, count, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_folds_scores_do_not_reach_what_judges_it() -> None:
    parts = folds(30, 5, 0)
    for k in (0, 3):
        part = parts[k]
        other = Y.copy()
        other[part] += RNG.normal(0, 9, len(part))
        for weigh in (choose, best_three, stack_weights):
            before, after = (
                (
                    CrossValidation(CHEAP, X, y, parts, 0, ignore).folded().predictions[part],
                    CrossValidation(CHEAP, X, y, parts, 0, ignore).nested().weights(weigh, y)[k],
                )
                for y in (Y, other)
            )
            np.testing.assert_array_equal(before[0], after[0])
            np.testing.assert_array_equal(before[1], after[1])


def test_inner_predictions_are_those_of_plain_nesting() -> None:
    """Using a model for two pairs of folds gives what refitting for each gives."""
    parts = folds(30, 4, 1)
    nested = CrossValidation(CHEAP, X, Y, parts, 0, ignore).nested()
    for k, judged in enumerate(parts):
        for j, part in enumerate(parts):
            if j == k:
                assert np.isnan(nested.inner[k][part]).all()
                continue
            rows = np.setdiff1d(np.arange(30), np.concatenate([judged, part]))
            direct = np.column_stack([f.fit(X[rows], Y[rows], 0).predict(X[part]) for f in CHEAP])
            np.testing.assert_array_equal(nested.inner[k][part], direct)


def test_out_of_fold_means_not_seen() -> None:
    parts = folds(30, 5, 0)
    folded = CrossValidation(CHEAP, X, Y, parts, 0, ignore).folded()
    rows = np.setdiff1d(np.arange(30), parts[2])
    direct = CHEAP[1].fit(X[rows], Y[rows], 0).predict(X[parts[2]])
    np.testing.assert_array_equal(folded.predictions[parts[2], 1], direct)
    one = combined(folded, [np.eye(3)[1]] * 5)
    np.testing.assert_array_equal(one, folded.predictions[:, 1])


NUMBERS = st.floats(-100, 100, width=32)


@given(table=arrays(np.float64, st.tuples(st.integers(3, 12), st.integers(2, 5)), elements=NUMBERS))
def test_a_stack_is_a_mean_and_no_worse_than_its_best_member(table: Floats) -> None:
    truth, members = table[:, 0], table[:, 1:]
    weights = stack_weights(members, truth)
    assert (weights >= 0).all()
    assert abs(weights.sum() - 1) < 1e-12
    errors = ((members - truth[:, None]) ** 2).sum(axis=0)
    # The sum is held by a row of weight 1e3·√M: the optimum is off by at most 1e-6 of the largest residual².
    slack = 1e-5 * (np.abs(members - truth[:, None]).max() ** 2) * len(truth)
    # Weights and sums are rounded: 2⁻⁵⁰ of the largest number, a row.
    rounding = len(truth) * (2.0**-50 * np.abs(table).max()) ** 2
    assert ((members @ weights - truth) ** 2).sum() <= errors.min() + slack + rounding


@given(values=arrays(np.float64, st.integers(4, 20), elements=NUMBERS, unique=True))
def test_spearman_sees_ranks_only(values: Floats) -> None:
    assert spearman(values, np.arctan(values / 100) * 5) > 1 - 1e-12
    assert spearman(values, -values) < -1 + 1e-12


def test_choosing_is_by_rank_not_by_error() -> None:
    truth = np.arange(10.0)
    close = truth + np.tile([2.0, -2.0], 5)
    assert choose(np.column_stack([close, 100 * truth]), truth).tolist() == [0, 1]


def test_the_best_three_share_alike() -> None:
    truth = np.arange(10.0)
    columns = np.column_stack([-truth, truth, truth % 5, 2 * truth])
    np.testing.assert_array_equal(best_three(columns, truth), [0, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_array_equal(best_three(columns[:, :2], truth), [1 / 2, 1 / 2])
