"""The families by name."""

from __future__ import annotations

from collections.abc import Callable

from m2m.errors import ConfigError
from m2m.predicting.boosting import MERGEMIX, REGMIX, BoostedTrees
from m2m.predicting.gaussian_process import GaussianProcess
from m2m.predicting.mixing_laws import EffectiveData, LogLinear, Mean
from m2m.predicting.protocol import Family
from m2m.predicting.regression import (
    LeastSquares,
    Ridge,
    SparsePairs,
    plain,
    roots,
    with_logarithms,
    with_products,
)
from m2m.support.schema import did_you_mean


# What one fit takes: scaled from 2,000 mixtures of 50 domains on one core of an AMD EPYC.
def _process(rows: int, domains: int) -> float:
    return 3.2e-9 * rows**3


def _products(rows: int, domains: int) -> float:
    return 2e-9 * rows * (domains * (domains + 1) / 2) ** 2


def _lasso(rows: int, domains: int) -> float:
    return 2e-7 * rows * domains * (domains + 1) / 2


def _law(step: float) -> Callable[[int, int], float]:
    # A Jacobian a step: rows × (about as many columns as domains), factorised.
    return lambda rows, domains: step * rows * domains**2


_ALL = (
    Family("linear", "least squares on x", LeastSquares(), rows_per_domain=1.0),
    Family("ridge", "ridge on x", Ridge(plain)),
    Family("ridge-log", "ridge on x and log(x + floor)", Ridge(with_logarithms)),
    Family("scheffe", "ridge on Scheffé's quadratic", Ridge(with_products), rows=8, seconds=_products),
    Family("pairwise", "sparse quadratic (lasso)", SparsePairs(), rows=10, seconds=_lasso),
    Family("log-linear", "c ± exp(Σ t x)", LogLinear(), rows=8, seconds=_law(2.8e-7)),
    Family("power-law", "c + a (1 + Σ t x^g)^−p", EffectiveData(), rows=8, seconds=_law(8e-8)),
    Family(
        "power-laws",
        "mean of sums of 2, 3 and 4 such laws",
        Mean([EffectiveData(terms, signs=(1.0,)) for terms in (2, 3, 4)]),
        rows=8,
        domains=40,
        seconds=_law(6e-7),
    ),
    Family("gp", "Gaussian process on x", GaussianProcess(plain), rows=6, seconds=_process, most=8000),
    Family("gp-root", "Gaussian process on √x", GaussianProcess(roots), rows=6, seconds=_process, most=8000),
    Family("lightgbm", "boosted trees", BoostedTrees(), rows=12),
    Family("lightgbm-regmix", "boosted trees, RegMix's settings", BoostedTrees(REGMIX), rows=48, domains=0),
    Family("lightgbm-mergemix", "boosted trees as they come", BoostedTrees(MERGEMIX), rows=48, domains=0),
)

#: Every family by the name users type.
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
#: Pick the family by cross-validation, or stack several.
AUTO = "auto"


def family(name: str) -> Family:
    """Find a family.

    Args:
        name: Its name.

    Returns:
        The family.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in FAMILIES:
        known = [AUTO, *FAMILIES]
        raise ConfigError(f"no predictor {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return FAMILIES[name]
