"""Every family finds what it assumes, stands what tables hold, and repeats; gradients are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from m2m.errors import ConfigError
from m2m.predicting import FAMILIES, family
from m2m.predicting import gaussian_process as gp
from m2m.predicting.mixing_laws import EffectiveData, PowerLaw, _gradient, _logs, _values
from m2m.predicting.regression import plain, with_logarithms, with_products
from m2m.predicting.tables import averaged
from m2m.predicting.validation import spearman
from m2m.support.arrays import Floats

NAMES = list(FAMILIES)


def mixtures(rows: int, domains: int, seed: int = 0) -> Floats:
    """Sparse points of the simplex, rounded as swarms are published."""
    x = np.random.default_rng(seed).dirichlet(np.full(domains, 0.5), rows).round(3) + 0.0
    return x / x.sum(axis=1, keepdims=True)


def law_of(x: Floats) -> Floats:
    """A loss that falls with effective data."""
    worth = np.array([9.0, 3.0, 1.0, 0.3, 0.1])[: x.shape[1]]
    return 2 + 3 * (1 + (x**0.6) @ worth) ** -0.7


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("linear", lambda x: 1 + x @ np.arange(5.0)),
        ("ridge", lambda x: 1 + x @ np.arange(5.0)),
        ("ridge-log", lambda x: np.log(x + 0.0005) @ np.arange(5.0)),
        ("scheffe", lambda x: x @ np.arange(5.0) + 4 * x[:, 0] * x[:, 1]),
        ("pairwise", lambda x: x @ np.arange(5.0) + 4 * x[:, 0] * x[:, 1]),
        ("log-linear", lambda x: 2 + np.exp(x @ np.array([1.0, -1.0, 0.0, 0.5, -2.0]))),
        ("log-linear", lambda x: 2 - np.exp(x @ np.array([1.0, -1.0, 0.0, 0.5, -2.0]))),
        ("power-law", law_of),
        ("power-law", lambda x: -law_of(x)),
        ("power-laws", law_of),
        ("gp", lambda x: np.sin(4 * x[:, 0]) + x[:, 1] ** 2),
        ("gp-root", law_of),
    ],
)
def test_each_finds_what_it_assumes(name: str, truth: object) -> None:
    x, new = mixtures(120, 5), mixtures(200, 5, seed=1)
    assert callable(truth)
    predicted = family(name).fit(x, truth(x)).predict(new)
    assert np.sqrt(np.mean((predicted - truth(new)) ** 2)) < 0.03 * truth(new).std()
    assert spearman(predicted, truth(new)) > 0.999


@pytest.mark.parametrize("name", ["lightgbm", "lightgbm-regmix", "lightgbm-mergemix"])
def test_trees_rank_well(name: str) -> None:
    x, new = mixtures(300, 3), mixtures(200, 3, seed=1)
    assert spearman(family(name).fit(x, law_of(x)).predict(new), law_of(new)) > 0.95


def test_small_swarms_need_small_leaves() -> None:
    """With 20 rows a leaf LightGBM has nothing to split in 39 rows; ours has."""
    x, new = mixtures(39, 4), mixtures(200, 4, seed=1)
    ours, theirs = (
        spearman(FAMILIES[name].fitter(x, law_of(x), 0).predict(new), law_of(new))
        for name in ("lightgbm", "lightgbm-mergemix")
    )
    assert (ours > 0.8, theirs) == (True, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_tables_as_they_are(name: str) -> None:
    """A domain that is never used, one that never changes, a row that repeats, mixtures far outside."""
    free = mixtures(60, 4) * 0.9
    x = np.column_stack([free, np.zeros(60), np.full(60, 0.1)])
    x[1] = x[0]
    y = law_of(free) + np.random.default_rng(0).normal(0, 0.01, 60)
    far = np.eye(6)
    predicted = family(name).fit(x, y).predict(far)
    assert predicted.shape == (6,)
    assert np.isfinite(predicted).all()


@pytest.mark.parametrize("name", NAMES)
def test_equal_scores_are_predicted_everywhere(name: str) -> None:
    assert (family(name).fit(mixtures(50, 3), np.full(50, 1.5)).predict(mixtures(4, 3)) == 1.5).all()


@pytest.mark.parametrize("name", NAMES)
def test_repeats_bit_by_bit_and_follows_the_unit(name: str) -> None:
    x = mixtures(60, 4)
    y = law_of(x)
    once, again, larger = (family(name).fit(x, scores, 3).predict(x) for scores in (y, y, 1024 * y))
    assert (once == again).all()
    # A power of two changes no bit of the standardised scores; penalties may stop elsewhere by a rounding.
    np.testing.assert_allclose(larger, 1024 * once, rtol=1e-4)


@pytest.mark.parametrize("name", ["scheffe", "pairwise", "gp", "power-law", "power-laws"])
def test_subsets(name: str) -> None:
    """A quadratic loss at the mean of the members' task vectors: ranks of unseen subsets."""
    rng = np.random.default_rng(5)
    s = (rng.random((160, 8)) < 0.5).astype(float)
    x = averaged(s[s.any(axis=1)])
    gram = rng.normal(size=(8, 3))
    y = ((x @ gram - 0.3) ** 2).sum(axis=1)
    half = len(x) // 2
    predicted = family(name).fit(x[:half], y[:half]).predict(x[half:])
    assert spearman(predicted, y[half:]) > (0.5 if name.startswith("power") else 0.95)


def test_the_power_laws_gradient_is_its_own() -> None:
    x = mixtures(7, 4)
    x[0] = [1, 0, 0, 0]
    p = np.random.default_rng(1).normal(size=1 + 2 * 7)
    logs = _logs(x)
    measured = np.stack([approx_fprime(p, lambda q, i=i: _values(q, *logs)[i], 1e-7) for i in range(7)])
    np.testing.assert_allclose(_gradient(p, *logs), measured, atol=1e-5)


def test_power_laws_stay_bounded_far_away() -> None:
    x = mixtures(40, 5)
    fitted = EffectiveData(1)(x, law_of(x), 0)
    assert isinstance(fitted, PowerLaw)
    c, a = fitted.parameters[0], fitted.parameters[1]
    ends = sorted([fitted.centre + fitted.scale * c, fitted.centre + fitted.scale * (c + a)])
    far = fitted.predict(np.vstack([np.eye(5), np.eye(5) * 1e6]))
    assert ends[0] <= far.min()
    assert far.max() <= ends[1]


def test_the_processs_gradient_is_its_own() -> None:
    rng = np.random.default_rng(2)
    points, z = rng.normal(size=(12, 3)), rng.normal(size=12)
    prior = np.zeros(6)
    hyper = rng.normal(scale=0.3, size=6)
    posterior = gp._Posterior(points, z, prior)
    _, gradient = posterior(hyper)
    measured = approx_fprime(hyper, lambda h: posterior(h)[0], 1e-7)
    np.testing.assert_allclose(gradient, measured, rtol=1e-4, atol=1e-4)


def test_the_process_knows_where_it_knows_little() -> None:
    x = mixtures(40, 4)
    model = family("gp").fit(x, law_of(x))
    assert isinstance(model, gp.GaussianModel)
    inside, outside = model.std(x).mean(), model.std(np.eye(4)).mean()
    assert 0 <= inside < outside


def test_the_process_agrees_with_scikit_learn() -> None:
    """The same kernel and hyperparameters there give the same posterior here."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

    x, new = mixtures(30, 4), mixtures(9, 4, seed=3)
    model = family("gp").fit(x, law_of(x))
    assert isinstance(model, gp.GaussianModel)
    h = np.exp(model.hyper)
    kernel = (
        ConstantKernel(h[-3]) * Matern(length_scale=h[:-3], nu=2.5)
        + ConstantKernel(h[-1]) * DotProduct(sigma_0=1)
        + WhiteKernel(h[-2] + 1e-8)
    )
    theirs = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-12)
    theirs.fit(model.points, (law_of(x) - model.offset) / model.unit)
    mean = theirs.predict((new - model.centre) / model.scale)
    np.testing.assert_allclose(model.predict(new), model.offset + model.unit * mean, rtol=1e-6)


def test_features() -> None:
    x = np.array([[0.25, 0.75, 0.0], [0.5, 0.25, 0.25]])
    assert (plain(x)(x) == x).all()
    np.testing.assert_array_equal(with_products(x)(x)[0], [0.25, 0.75, 0, 0.1875, 0, 0])
    np.testing.assert_array_equal(with_logarithms(x)(x)[0, 3:], np.log([0.375, 0.875, 0.125]))
    np.testing.assert_array_equal(averaged(np.array([[1.0, 1, 0, 0]])), [[0.5, 0.5, 0, 0]])


def test_unknown_family() -> None:
    with pytest.raises(ConfigError, match=r"no predictor 'ligtgbm' \(did you mean 'lightgbm'\?\)"):
        family("ligtgbm")
