"""What a fit that fails means: the next start, the other families, or one line; never a number."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.optimize

from m2m.errors import FitError, InputError
from m2m.predicting import FAMILIES, family, fit_predictor, predict
from m2m.predicting import gaussian_process as gp
from m2m.predicting.gaussian_process import GaussianProcess
from m2m.predicting.protocol import Constant, Family, FamilyError
from m2m.predicting.validation import spearman, stack_weights
from m2m.support.arrays import Floats


def table(rows: int = 40, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.full(3, 0.6), rows)
    return x, 2 + (1 + x @ np.array([5.0, 2.0, 0.5])) ** -0.5


def refuse(self: GaussianProcess, x: Floats, y: Floats, seed: int) -> None:
    raise FitError("its covariance matrix is not positive definite")


@pytest.mark.parametrize("name", ["power-law", "log-linear"])
def test_a_start_that_fails_leaves_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = table()
    real, calls = scipy.optimize.least_squares, []

    def stumbling(residuals: Any, start: Floats, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("Residuals are not finite in the initial point.")
        found = real(residuals, start, **options)
        if len(calls) == 2:
            found.cost = -np.inf  # would be the lowest
        return found

    monkeypatch.setattr(scipy.optimize, "least_squares", stumbling)
    starts = {"power-law": 2, "log-linear": 8}[name]
    if starts > 2:
        assert np.abs(family(name).fit(x, y).predict(x) - y).max() < 0.1 * y.std()
    else:
        with pytest.raises(FamilyError, match=r"power-law cannot be fitted to 40 .*none of its 2 starts"):
            family(name).fit(x, y)
    assert len(calls) == starts


def test_a_covariance_without_a_factor_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradient there is zero, so the optimiser says that it has converged."""
    monkeypatch.setattr(gp._Posterior, "covariance", lambda self, hyper: -np.eye(40))
    with pytest.raises(FamilyError, match=r"gp cannot be fitted to 40 .*not positive definite"):
        family("gp").fit(*table())


def test_what_predicts_no_numbers_is_no_fit() -> None:
    class Nowhere:
        def predict(self, x: Floats) -> Floats:
            return np.where(np.arange(len(x)) == 1, np.nan, 1.0)

    with pytest.raises(FamilyError, match=r"odd cannot be fitted to 40 .*not finite"):
        Family("odd", "", lambda x, y, seed: Nowhere()).fit(*table())


def test_auto_goes_on_without_a_family_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(GaussianProcess, "__call__", refuse)
    x, y = table(30)
    mixtures, scores = pd.DataFrame(x, columns=list("abc")), pd.DataFrame({"loss": y})
    with caplog.at_level(logging.WARNING):
        forecast = predict(mixtures, scores, "loss", at=mixtures, folds=3)
    assert [note.split(" cannot")[0] for note in forecast.predictor.notes] == ["gp", "gp-root"]
    assert not {"gp", "gp-root"} & forecast.predictor.spearman.keys()
    assert "loss: gp cannot be fitted" in caplog.text
    assert forecast.table is not None
    assert np.isfinite(forecast.table[["predicted", "std", "low", "high"]].to_numpy()).all()
    with pytest.raises(FamilyError, match="gp cannot be fitted"):
        fit_predictor(x, y, "gp", fold_count=3)


def test_a_refit_goes_on_without_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = table(30)
    predictor = fit_predictor(x, y, fold_count=3)
    some = next(iter(predictor.weights))
    object.__setattr__(predictor, "weights", {some: 0.5, "gp": 0.5})
    object.__setattr__(predictor.fitted, "weights", np.array([0.5, 0.5]))
    monkeypatch.setattr(GaussianProcess, "__call__", refuse)
    if some.startswith("gp"):
        pytest.skip("the process itself is what was chosen")
    assert np.allclose(predictor.refitted(x, y, 0).predict(x), family(some).fit(x, y, 0).predict(x))
    object.__setattr__(predictor, "weights", {"gp": 1.0})
    object.__setattr__(predictor.fitted, "weights", np.array([1.0]))
    with pytest.raises(FamilyError):
        predictor.refitted(x, y, 0)


def test_a_stack_without_weights_is_its_best_family(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.arange(6.0)
    predictions = np.column_stack([truth[::-1], truth + 0.1 * np.cos(truth)])

    def out_of_iterations(*_: Floats) -> None:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(scipy.optimize, "nnls", out_of_iterations)
    assert stack_weights(predictions, truth).tolist() == [0, 1]


@pytest.mark.parametrize("name", [n for n in FAMILIES if n.startswith("lightgbm")])
def test_trees_see_small_differences_on_a_high_level(name: str) -> None:
    """A float32 has no room for them."""
    x, y = table(120)
    high = 1024 + y * 1e-8
    assert np.ptp(np.float32(high)) == 0
    assert spearman(family(name).fit(x, high).predict(x), y) > 0.9


#: Tables that leave little or nothing to fit.
TABLES = {
    "constant": lambda x: np.full(len(x), 0.7),
    "constant but one": lambda x: np.eye(len(x))[0],
    "two values": lambda x: (x[:, 0] > 0.5).astype(float),
    "an ulp apart": lambda x: np.nextafter(1.0, 1.0 + (x[:, 0] > 0.5)),
    "large": lambda x: 1e149 * (1 + x[:, 0]),
    "small": lambda x: 1e-140 * (1 + x[:, 0]),
    "mostly tiny": lambda x: np.where(np.arange(len(x)) == 0, 1.0, 1e-300 * x[:, 0]),
}


@pytest.mark.parametrize("scores", TABLES)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_numbers(name: str, scores: str) -> None:
    x, _ = table(90)
    x[45:] = x[:45]  # every mixture twice
    y = TABLES[scores](x)
    predictor = fit_predictor(x, y, name, fold_count=3)
    found = predictor.predict(table(20, seed=1)[0])
    assert all(np.isfinite(part).all() for part in (found.mean, found.std, found.low, found.high))
    assert all(np.isfinite(rho) for rho in predictor.spearman.values())


def test_equal_scores_are_said() -> None:
    x, y = table(30)
    predictor = fit_predictor(x, np.full_like(y, 0.7), fold_count=3)
    assert "all scores are the same" in predictor.notes[0]
    assert isinstance(predictor.fitted.models[0], Constant)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.r_[1e300, np.ones(29)], r"a score is 1e\+300; wanted at most 1e\+150 in size"),
        (np.r_[-1e300, np.ones(29)], r"a score is -1e\+300"),
        (np.r_[np.inf, np.ones(29)], "a score is inf"),
        (np.r_[np.nan, np.ones(29)], "a score is nan"),
        (np.linspace(0, 1e-300, 30), "scores differ by at most 1e-300"),
    ],
)
def test_scores_whose_squares_are_no_numbers_are_refused(y: Floats, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fit_predictor(table(30)[0], y, "ridge")


def test_one_line_for_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from m2m.cli.entry import main

    monkeypatch.setattr(GaussianProcess, "__call__", refuse)
    x, y = table(30)
    pd.DataFrame(x, columns=list("abc")).to_csv(tmp_path / "x.csv", index=False)
    pd.DataFrame({"loss": y}).to_csv(tmp_path / "y.csv", index=False)
    files = ["--mixtures", str(tmp_path / "x.csv"), "--scores", str(tmp_path / "y.csv")]
    out = tmp_path / "out.csv"
    options = ["--target", "loss", "--model", "gp", "--at", str(tmp_path / "x.csv"), "--out", str(out)]
    assert main(["predict", *files, *options, "--quiet"]) == 2
    assert not out.exists()
