"""The process: its covariance is the formula's, vanishes at single datasets, conditions as textbooks do."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from helpers.trust_landscapes import landscape
from scipy.stats import multivariate_normal

from analysis.trust.landscape import Landscape
from analysis.trust.process import LENGTHS, OWN, SHARED, Hyperparameters, Process
from m2m.support.arrays import Floats

HYPER = Hyperparameters(np.array([0.7, 0.4, 0.9, 0.5, 0.3]), 0.2, 4)


def twin(on: Landscape, hyper: Hyperparameters) -> Floats:
    """The prior covariance of all mixtures as the formula has it, pair of mixtures by pair."""
    m = (on.merged - on.merged.mean()) / on.merged.std()
    count, n = on.weights.shape
    k = np.zeros((count, count))
    for i, x in enumerate(on.weights):
        for j, y in enumerate(on.weights):
            far = np.sum((x - y) ** 2) / (2 * LENGTHS[hyper.length] ** 2)
            s = hyper.sigmas**2
            inner = s[0] + s[1] * m[i] * m[j] + s[2] * np.exp(-far)
            k[i, j] = (1 - x @ x) * (1 - y @ y) * inner
            k[i, j] += s[3] * sum(16 * x[a] * x[b] * y[a] * y[b] for a, b in combinations(range(n), 2))
            k[i, j] += s[4] * (m[i] - x @ m[:n]) * (m[j] - y @ m[:n])
    return k + hyper.noise**2 * np.diag(~on.several)


def test_the_covariance_is_the_formulas() -> None:
    on = landscape()
    factors = list(Process(on)._factors(HYPER))
    # Cholesky's factors have 1e-8 on a diagonal of ones, times q²σ₂² < 1.
    np.testing.assert_allclose(sum(f @ f.T for f in factors), twin(on, HYPER), atol=1e-8)


def test_single_datasets_differ_by_a_trainings_luck_alone() -> None:
    on = landscape()
    assert twin(on, HYPER)[:4, :4] == pytest.approx(HYPER.noise**2 * np.eye(4), abs=1e-15)
    _, drawn = Process(on).condition(replace(HYPER, noise=0.0), 5, np.random.default_rng(0))
    assert np.abs(drawn[:, :4]).max() == 0
    assert np.abs(drawn[:, 4:]).min() > 0


def test_the_evidence_is_the_density_of_what_training_added() -> None:
    on, other = landscape(), replace(HYPER, noise=0.4, sigmas=HYPER.sigmas / 2)
    process = Process(on)
    rows, gains = on.trainings

    def log_density(hyper: Hyperparameters) -> float:
        seen = twin(on, hyper)[np.ix_(rows, rows)] + hyper.noise**2 * np.eye(len(rows))
        return float(multivariate_normal.logpdf(gains / on.unit, cov=seen))

    # Up to a constant, and to 1e-8 on diagonals of at least noise² = 0.04.
    difference = process.log_evidence(HYPER) - process.log_evidence(other)
    assert difference == pytest.approx(log_density(HYPER) - log_density(other), abs=1e-5)


def test_it_conditions_as_textbooks_do() -> None:
    on = landscape()
    rows, gains = on.trainings
    k = twin(on, HYPER)
    solve = np.linalg.inv(k[np.ix_(rows, rows)] + HYPER.noise**2 * np.eye(len(rows)))
    mean, drawn = Process(on).condition(HYPER, 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(mean, k[:, rows] @ solve @ gains / on.unit, atol=1e-6)
    covariance = k - k[:, rows] @ solve @ k[rows]
    # Six standard errors of 20 000 draws: of a mean σ/√n, of a covariance at most √2 σσ′/√n.
    sd = np.sqrt(np.diag(covariance))
    assert np.abs(drawn.mean(axis=0) - mean).max() < 6 * sd.max() / np.sqrt(20_000)
    error = np.abs(np.cov(drawn.T) - covariance) / np.outer(sd, sd)
    assert error.max() < 6 * np.sqrt(2 / 20_000)


def test_a_second_seed_is_a_second_training() -> None:
    on = landscape()
    twice = replace(on, trained=np.vstack([on.trained, on.trained + 0.1]))
    assert len(twice.trainings[0]) == 2 * len(on.trainings[0])
    one, two = (Process(each).condition(HYPER, 2000, np.random.default_rng(0))[1] for each in (on, twice))
    rows = on.trainings[0]
    assert (two[:, rows].std(axis=0) < one[:, rows].std(axis=0)).all()


def test_an_expert_is_no_training_and_another_seed_of_it_is_one() -> None:
    on = landscape()
    same = on.trained.copy()
    same[0, :4] = on.merged[:4]
    assert len(replace(on, trained=same).trainings[0]) == len(on.trainings[0])
    same[0, 0] += 0.01 * on.unit
    assert replace(on, trained=same).trainings[0].tolist() == [0, *on.trainings[0]]


def test_the_prior_is_as_stated() -> None:
    rng = np.random.default_rng(0)
    drawn = [Hyperparameters.at(rng.normal(size=SHARED), rng.normal(size=OWN)) for _ in range(4000)]
    assert np.bincount([hyper.length for hyper in drawn]).min() > 4000 / len(LENGTHS) * 0.7
    middle = Hyperparameters.at(np.zeros(SHARED), np.zeros(OWN))
    # The median of 4000 log-normal numbers of log-deviation 1.12 is off by 1.12 · 1.25 / √4000 in its log.
    logs = np.log(np.median([hyper.sigmas for hyper in drawn], axis=0) / middle.sigmas)
    assert np.abs(logs).max() < 0.12
