"""The families by name."""

from __future__ import annotations

from m2m.config_keys import did_you_mean
from m2m.errors import ConfigError
from m2m.predicting.boosting import MERGEMIX, REGMIX, BoostedTrees
from m2m.predicting.features import plain, roots, with_logarithms, with_products
from m2m.predicting.gaussian_process import GaussianProcess
from m2m.predicting.mixing_law import LogLinear
from m2m.predicting.power_law import EffectiveData, Mean
from m2m.predicting.protocol import Family
from m2m.predicting.regression import LeastSquares, Ridge, SparsePairs

_ALL = (
    Family("linear", "least squares on x", LeastSquares(), rows_per_domain=1.0),
    Family("ridge", "ridge on x", Ridge(plain)),
    Family("ridge-log", "ridge on x and log(x + floor)", Ridge(with_logarithms)),
    Family("scheffe", "ridge on Scheffé's quadratic", Ridge(with_products), rows=8),
    Family("pairwise", "sparse quadratic (lasso)", SparsePairs(), rows=10),
    Family("log-linear", "c ± exp(Σ t x)", LogLinear(), rows=8),
    Family("power-law", "c + a (1 + Σ t x^g)^−p", EffectiveData(), rows=8),
    Family(
        "power-laws",
        "mean of sums of 2, 3 and 4 such laws",
        Mean([EffectiveData(terms, signs=(1.0,)) for terms in (2, 3, 4)]),
        rows=8,
        domains=40,
    ),
    Family("gp", "Gaussian process on x", GaussianProcess(plain), rows=6, mixtures=1000, most=8000),
    Family("gp-root", "Gaussian process on √x", GaussianProcess(roots), rows=6, mixtures=1000, most=8000),
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
