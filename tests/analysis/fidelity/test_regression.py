"""Repeated measures against ordinary least squares; mixed effects against what was simulated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis.fidelity import mixed_effects, repeated_measures
from analysis.fidelity.scores import Points, Sample


def panel(slopes: list[float], off_line: float, noise: float, seed: int, n: int = 15) -> list[Points]:
    """Return targets with two training seeds; errors are in units of the surrogate's scores."""
    rng = np.random.default_rng(seed)
    found = []
    for number, slope in enumerate(slopes):
        merged = rng.normal(size=n)
        line = slope * merged + off_line * rng.normal(size=n) + 10 * number
        trained, again = line + noise * rng.normal(size=(2, n))
        labels = tuple(map(str, range(n)))
        found.append(Points(f"t{number}", "m", True, labels, None, merged, trained, again))
    return found


def one_seed(points: Points) -> Points:
    return replace(points, again=np.full(points.n, np.nan))


def pooled(points: list[Points]) -> Sample:
    merged, trained = (np.concatenate([getattr(p, side) for p in points]) for side in ("merged", "trained"))
    stratum = np.repeat(np.arange(len(points)), [p.n for p in points])
    return Sample(merged, trained, stratum, np.concatenate([np.arange(p.n) for p in points]), None)


def test_repeated_measures_is_an_analysis_of_covariance() -> None:
    sample = pooled(panel([0.5, 0.8, 0.7], 0.5, 0.2, seed=0))
    found = repeated_measures(sample, seed=0)
    levels = np.eye(3)[sample.stratum]
    common = sm.OLS(sample.trained, np.column_stack([levels, sample.merged])).fit()
    own = sm.OLS(sample.trained, np.column_stack([levels, levels * sample.merged[:, None]])).fit()
    low, high = common.conf_int()[-1]
    assert found.slope is not None
    assert (found.slope_value, found.slope.low, found.slope.high) == pytest.approx(
        (common.params[-1], low, high)
    )
    assert (found.df, found.f) == (common.df_resid, pytest.approx(common.tvalues[-1] ** 2))
    assert found.p == pytest.approx(common.pvalues[-1])
    assert found.unequal_slopes_p == pytest.approx(own.compare_f_test(common)[1])
    assert found.r.value == pytest.approx(math.sqrt(found.f / (found.f + found.df)))
    reach = 1.959963984540054 / math.sqrt(found.df - 1)  # Bakdash and Marusich 2017
    [_, fisher] = found.r.intervals
    assert fisher.low == pytest.approx(math.tanh(math.atanh(found.r.value) - reach))


def test_no_test_of_independent_rows_where_mixtures_share_datasets() -> None:
    sample = pooled(panel([0.5, 0.8], 0.5, 0.2, seed=0, n=6))
    members = (("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d"))
    alone = repeated_measures(sample, seed=0)
    found = repeated_measures(replace(sample, members=members), seed=0)
    assert (found.slope_value, found.f) == (alone.slope_value, alone.f)
    assert (found.slope, found.p, found.unequal_slopes_p) == (None, None, None)
    assert "share datasets" in found.reason


def test_repeated_measures_of_an_exact_line() -> None:
    merged = np.array([1.0, 2, 4, 1, 3, 4])
    sample = Sample(merged, 2 * merged, np.repeat([0, 1], 3), np.tile(np.arange(3), 2), None)
    found = repeated_measures(sample, seed=0)
    assert (found.slope_value, found.p) == pytest.approx((2, 0), abs=1e-12)
    assert found.unequal_slopes_p is None


def test_one_random_intercept_is_the_textbook_analysis_of_variance() -> None:
    """One target, two seeds: REML on balanced pairs has the closed form of a split-plot design."""
    [target] = panel([0.7], 0.6, 0.3, seed=1, n=40)
    found = mixed_effects([target])
    x = (target.merged - target.merged.mean()) / target.merged.std()
    first, second = (
        (scores - scores.mean()) / target.trained.std() for scores in (target.trained, target.again)
    )
    slope = x @ (first + second) / 2 / (x @ x)
    within = float(np.sum((first - second) ** 2)) / 2 / (target.n - 1)
    mean_error = (first + second) / 2 - slope * x
    between = float(mean_error @ mean_error) / (target.n - 2)
    assert found.slope.value == pytest.approx(slope, rel=1e-5)
    # The optimiser stops when the likelihood is flat: variances to about the root of its tolerance.
    assert found.residual_sd == pytest.approx(math.sqrt(within), rel=1e-3)
    assert found.off_line_sd == pytest.approx(math.sqrt(between - within / 2), rel=1e-3)
    assert found.slope.high - slope == pytest.approx(
        stats.t.ppf(0.975, target.n - 2) * math.sqrt(between / (x @ x)), rel=1e-3
    )


def test_the_slope_is_covered() -> None:
    """Random slopes: 95 % intervals cover, to a binomial count's lower 1e-6 tail."""
    rng, runs = np.random.default_rng(3), 20
    # In standard deviations of its target a slope s is s / √(s² + errors²), errors² = 0.4² + 0.2².
    population = 0.8 + 0.2 * rng.normal(size=1_000_000)
    truth = float(np.mean(population / np.sqrt(population**2 + 0.2)))
    covered = 0
    for run in range(runs):
        slopes = 0.8 + 0.2 * rng.normal(size=5)
        points = [one_seed(p) for p in panel(list(slopes), 0.4, 0.2, seed=run)]
        slope = mixed_effects(points).slope
        assert slope.low is not None
        assert slope.high is not None
        covered += slope.low <= truth <= slope.high
    assert covered >= stats.binom.ppf(1e-6, runs, 0.95)


def test_a_variance_of_zero_is_said() -> None:
    [target] = panel([0.9], 0.3, 0.3, seed=5)
    twins = [replace(target, target=name) for name in ("t0", "t1")]
    found = mixed_effects(twins)
    assert found.slope_sd == pytest.approx(0, abs=0.01)  # the edge: 1e-4 of a variance near 1
    assert any("slopes between targets is estimated as zero" in note for note in found.notes)


def test_thousands_of_mixtures_are_left_out() -> None:
    """Two seeds of 100 000 mixtures would be a matrix of 75 GiB."""
    found = mixed_effects(panel([0.9, 0.8], 0.3, 0.3, seed=6, n=100_000))
    assert found.slope.reason == "no target is usable"
    assert "'t0' is left out: it has more than 600 mixtures" in found.notes[0]


def test_nothing_to_fit_has_a_reason() -> None:
    [one] = panel([0.5], 0.5, 0.2, seed=0)
    assert "one target and one seed" in mixed_effects([one_seed(one)]).slope.reason
    flat = replace(one, target="f", merged=np.zeros(one.n))
    found = mixed_effects([flat])
    assert found.slope.value is None
    assert "'f' is left out" in found.notes[0]
    exact = panel([1.0, 1.0], 0.0, 0.0, seed=0)
    assert "exactly" in mixed_effects(exact).slope.reason


@pytest.mark.parametrize("apart", ["an ulp", 0.0, 1e-12, 1e-9, 1e-7])
def test_seeds_that_agree_are_one(apart: str | float) -> None:
    """Between them nothing varies: their likelihood has no maximum, and what a fit ends in is rounding."""
    rng, points = np.random.default_rng(7), panel([0.9, 0.6, 0.7, 1.2], 0.4, 0.2, seed=2)
    alone = mixed_effects([one_seed(p) for p in points])

    def second(p: Points) -> np.ndarray:
        if isinstance(apart, str):
            return np.nextafter(p.trained, np.where(rng.random(p.n) < 0.5, -np.inf, np.inf))
        return p.trained + apart * p.trained.std() * rng.uniform(-1, 1, p.n)

    found = mixed_effects([replace(p, again=second(p)) for p in points])
    numbers = found.slope.value, found.slope.low, found.slope.high, found.residual_sd
    # The fit moves in proportion to its scores; its optimiser ends where the likelihood is flat.
    assert numbers == pytest.approx(
        (alone.slope.value, alone.slope.low, alone.slope.high, alone.residual_sd), abs=1e-4
    )
    assert (found.seeds, found.off_line_sd) == (1, None)
    assert sum("seeds agree" in note for note in found.notes) == len(points)


def test_seeds_a_constant_apart_agree() -> None:
    """Each seed has a level of its own, so a constant is no difference."""
    [target] = panel([0.9], 0.4, 0.2, seed=2)
    found = mixed_effects([replace(target, again=target.trained + 3)])
    assert "one target and one seed" in found.slope.reason
    assert "'t0': its seeds agree" in found.notes[0]


def test_seeds_that_agree_beside_seeds_that_do_not() -> None:
    first, *others = panel([0.9, 0.6, 0.7], 0.4, 0.2, seed=2)
    found = mixed_effects([replace(first, again=first.trained), *others])
    assert found.seeds == 2
    assert found.slope.low is not None
    assert [note.split(":")[0] for note in found.notes if "agree" in note] == ["target 't0'"]


@pytest.mark.parametrize("apart", [2e-6, 1e-5, 1e-3])
def test_seeds_that_hardly_differ_give_what_their_mean_does(apart: float) -> None:
    """Just above what counts as one: the same regression, still with an interval."""
    rng, points = np.random.default_rng(7), panel([0.9, 0.6, 0.7, 1.2], 0.4, 0.2, seed=2)
    alone = mixed_effects([one_seed(p) for p in points]).slope
    far = [replace(p, again=p.trained + apart * p.trained.std() * rng.choice([-1, 1], p.n)) for p in points]
    found = mixed_effects(far)
    assert found.seeds == 2
    assert (found.slope.value, found.slope.low, found.slope.high) == pytest.approx(
        (alone.value, alone.low, alone.high), abs=1e-3
    )


def test_a_variance_on_the_edge_leaves_the_slope_its_interval() -> None:
    """Held at zero it takes no part: what is left is least squares with a level a target."""
    [target] = panel([0.9], 0.3, 0.3, seed=5)
    twins = [one_seed(replace(target, target=name)) for name in ("t0", "t1", "t2")]
    slope = mixed_effects(twins).slope
    x = (target.merged - target.merged.mean()) / target.merged.std()
    y = (target.trained - target.trained.mean()) / target.trained.std()
    levels = np.kron(np.eye(3), np.ones((target.n, 1)))
    plain = sm.OLS(np.tile(y, 3), np.column_stack([levels, np.tile(x, 3)])).fit()
    assert slope.low is not None
    assert slope.high is not None
    assert slope.value == pytest.approx(plain.params[-1], rel=1e-3)
    assert (slope.high - slope.low) / 2 == pytest.approx(stats.t.ppf(0.975, 2) * plain.bse[-1], rel=1e-3)


@pytest.mark.parametrize("spoilt", ["singular", "indefinite", "infinite", "stopped"])
def test_no_interval_without_an_information_matrix(spoilt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a likelihood does there: the slope, and in words why it has no interval."""
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMResults

    sound = MixedLM.hessian

    def hessian(model: MixedLM, params: object) -> tuple[np.ndarray, bool]:
        matrix, singular = sound(model, params)
        if spoilt == "singular":
            matrix[1], matrix[:, 1] = matrix[0], matrix[:, 0]
            matrix[1, 1] *= 1 + 1e-15
        elif spoilt == "indefinite":
            matrix[0, 0] *= -1
        elif spoilt == "infinite":
            matrix[0, 0] = -np.inf
        return matrix, singular

    monkeypatch.setattr(MixedLM, "hessian", hessian)
    if spoilt == "stopped":
        monkeypatch.setattr(MixedLMResults, "converged", property(lambda _: False, lambda *_: None), False)
    found = mixed_effects(panel([0.9, 0.6, 0.7], 0.4, 0.2, seed=2))
    assert found.slope.value is not None
    assert (found.slope.low, found.slope.high) == (None, None)
    words = "did not converge" if spoilt == "stopped" else "not positive definite"
    assert words in found.slope.reason
