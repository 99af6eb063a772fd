"""These mixtures again: the same coefficient row by row, what redraws change, and why there may be none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.fidelity.coefficients import COEFFICIENTS, of_rescored
from analysis.fidelity.repeats import Repeats, _retested, interval, redraw, redraw_seeds
from analysis.fidelity.scores import Points, Sample, pooled_sample

#: Few distinct values, so that ties are common.
SCORES = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=12)


@pytest.mark.parametrize("name", COEFFICIENTS)
@given(rows=SCORES, targets=st.integers(1, 3))
def test_other_scores_of_the_same_rows(name: str, rows: list[tuple[int, int]], targets: int) -> None:
    """The law: a coefficient of rescored rows is the coefficient of a sample with these scores."""
    first, second = np.array(rows, float).T
    stratum = np.arange(len(rows)) % targets
    merged, trained = np.stack([first, second, -first]), np.stack([second, first, second])
    sample = Sample(first, second, stratum, np.arange(len(rows)), None)
    found = of_rescored(name, sample, merged, trained)
    one = np.ones((1, len(rows)))
    for row, value in enumerate(found):
        [expected] = COEFFICIENTS[name](replace(sample, merged=merged[row], trained=trained[row]), one)
        # Sums of at most 12 products of numbers below 12: their rounding.
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def points(
    target: str = "t", seeds: float = 0.2, tests: float = 0.2, n: int = 11, examples: int = 50
) -> Points:
    """Return scores of n mixtures with noise of training seeds and of test examples."""
    rng = np.random.default_rng(len(target))
    truth = rng.normal(size=n)
    merged = truth[:, None] + tests * rng.normal(size=(n, examples))
    trained = (truth + seeds * rng.normal(size=n))[:, None] + tests * rng.normal(size=(n, examples))
    again = trained.mean(axis=1) + seeds * math.sqrt(2) * rng.normal(size=n)
    sides, labels = (merged.mean(axis=1), trained.mean(axis=1)), tuple(f"m{k}" for k in range(n))
    return Points(target, "m", True, labels, None, *sides, again, examples=((merged, trained),))


def drawn(*targets: Points, seed: int = 0) -> Repeats:
    found = redraw(targets, seed)
    assert not isinstance(found, str), found
    return found


def test_a_repetition_varies_as_much_as_what_was_found() -> None:
    target = points(seeds=0.8, tests=2.0)
    found = drawn(target)
    for side, scores in ((found.merged, target.merged), (found.trained, target.trained)):
        spread = np.var(side, axis=1, ddof=1).mean()
        # The mean of 499 variances of 11 scores: standard error √(2/10/499) = 2 %.
        assert spread == pytest.approx(np.var(scores, ddof=1), rel=6 * 0.02)
    assert found.freedom == 10


def test_merged_and_trained_models_are_tested_on_the_same_examples() -> None:
    """Examples that move both alike move their difference by nothing."""
    target = points(seeds=0.0)
    [(merged, trained)] = target.examples
    same = replace(target, trained=target.merged, again=target.merged, examples=((merged, merged),))
    found = drawn(same)
    assert found.merged == pytest.approx(found.trained, abs=1e-12)
    assert trained.shape == merged.shape


def test_examples_of_several_samples_are_redrawn_apart() -> None:
    """Two samples, each in units of its own, add their variances."""
    first, second = points(seeds=0.0, tests=2.0), points("other", seeds=0.0, tests=2.0, examples=20)
    both = replace(
        first,
        merged=first.merged - 3 * second.merged,
        trained=first.trained - 3 * second.trained,
        again=first.trained - 3 * second.trained,
        examples=(*first.examples, tuple(-3 * side for side in second.examples[0])),
    )
    rng = np.random.default_rng(4)
    added = _retested(both, 4000, rng)
    of_first, of_second = _retested(first, 4000, rng), _retested(second, 4000, rng)
    expected = of_first.var(axis=1) + 9 * of_second.var(axis=1)
    # A variance from 4,000 draws is right to √(2/4000) = 2.2 %, on either side.
    assert added.var(axis=1) == pytest.approx(expected, rel=6 * 0.033)


def test_a_mixture_has_one_model_on_all_targets() -> None:
    """Its seed moves both targets: by the same differences if these are the same."""
    first = points(tests=0.0)
    found = drawn(first, replace(first, target="u"))
    assert found.trained[:, :11] == pytest.approx(found.trained[:, 11:], abs=1e-12)


def test_without_test_examples_seeds_alone_move() -> None:
    target = replace(points(seeds=0.8), examples=None)
    found = redraw([target], seed=0, retested=False)
    assert isinstance(found, Repeats)
    assert found.method == "training seeds redrawn"
    assert (found.merged == target.merged - target.merged.mean()).all()
    assert np.ptp(found.trained, axis=0).min() > 0


def test_two_seeds_move_apart_each_as_much_as_it_was_found_to() -> None:
    target = replace(points(seeds=0.8), examples=None)
    found = redraw_seeds([target], seed=0)
    assert isinstance(found, Repeats)
    for side, scores in ((found.merged, target.trained), (found.trained, target.again)):
        assert np.var(side, axis=1, ddof=1).mean() == pytest.approx(np.var(scores, ddof=1), rel=6 * 0.02)
    moved = [side - side.mean(axis=0) for side in (found.merged, found.trained)]
    # 499 draws of 11: the correlation of independent noise has a standard error of 0.014.
    assert abs(np.corrcoef(moved[0].ravel(), moved[1].ravel())[0, 1]) < 6 * 0.014
    few = replace(target, again=np.r_[np.arange(3.0), np.full(8, np.nan)])
    assert "3 mixtures were trained with a second seed" in str(redraw_seeds([few], seed=0))


def test_nothing_varies_nothing_moves() -> None:
    target, half_a_step = points(seeds=0.0, tests=0.0), 2 / (11 * 10)  # of Kendall's tau, the largest
    for name in COEFFICIENTS:
        value = float(COEFFICIENTS[name](target.sample(), np.ones((1, 11)))[0])
        found = interval(name, value, target.sample(), drawn(target))
        assert (found.low, found.high) == pytest.approx((value, value), abs=half_a_step + 1e-9)


def test_more_noise_is_a_wider_interval_about_what_was_found() -> None:
    widths = []
    for noise in (0.05, 0.2, 0.8):
        target = points(seeds=noise)
        value = float(COEFFICIENTS["pearson"](target.sample(), np.ones((1, 11)))[0])
        found = interval("pearson", value, target.sample(), drawn(target))
        assert found.low is not None
        assert found.high is not None
        assert found.low < value < found.high
        assert (found.about, found.method) == ("these mixtures", "training seeds and test examples redrawn")
        widths.append(found.high - found.low)
    assert widths == sorted(widths)


def test_the_same_seed_gives_the_same_redraws() -> None:
    first, second, other = (drawn(points(), seed=seed).trained for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"again": np.full(11, np.nan)}, "no second training seed"),
        ({"again": np.r_[np.arange(3.0), np.full(8, np.nan)]}, "3 mixtures were trained with a second seed"),
        ({"examples": None}, "single test examples are not known"),
        ({"examples": ((np.ones((11, 1)), np.ones((11, 1))),)}, "single test examples are not known"),
        ({"merged": np.r_[np.nan, np.arange(10.0)]}, "a score is not finite"),
    ],
)
def test_why_there_are_none(changes: dict[str, object], reason: str) -> None:
    found = redraw([replace(points(), **changes)], seed=0)
    assert isinstance(found, str)
    assert reason in found
    missing = interval("pearson", 0.5, points().sample(), found)
    assert (missing.low, missing.reason) == (None, found)


def test_every_target_needs_every_mixture() -> None:
    found = redraw([points(), replace(points("u"), labels=tuple(f"n{k}" for k in range(11)))], seed=0)
    assert found == "not every mixture is on every target"


def test_rows_of_targets_may_come_in_any_order() -> None:
    first = points(tests=0.0)
    order = np.arange(11)[::-1]
    turned = replace(
        first,
        target="u",
        labels=tuple(first.labels[k] for k in order),
        merged=first.merged[order],
        trained=first.trained[order],
        again=first.again[order],
        examples=tuple(tuple(side[order] for side in sides) for sides in first.examples),
    )
    found = drawn(first, turned)
    assert found.trained[:, :11] == pytest.approx(found.trained[:, 11:][:, order], abs=1e-12)
    assert pooled_sample([first, turned]).mixture.tolist() == [*range(11), *order]
