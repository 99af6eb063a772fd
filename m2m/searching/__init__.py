"""Search for the best mixture: strategies over a shared objective, space and budget."""

from __future__ import annotations

from m2m.errors import ConfigError
from m2m.predicting import AUTO, FAMILIES
from m2m.searching.belief import Belief, Contender, assess
from m2m.searching.hierarchical import Hierarchical
from m2m.searching.model_based import ModelBased
from m2m.searching.model_free import Annealing, Beam, Exhaustive, Greedy, RandomSearch
from m2m.searching.objective import Evaluation, Objective
from m2m.searching.optuna_study import OptunaStudy
from m2m.searching.polynomials import QuadraticPrior
from m2m.searching.predictor_rounds import PredictorRounds
from m2m.searching.scaled_simplex import ScaledSimplex
from m2m.searching.simplex import Simplex, repetition_caps
from m2m.searching.spaces import MixtureList, Subsets
from m2m.searching.strategy import SearchResult, Space, Strategy
from m2m.searching.trust_region import TrustRegion
from m2m.searching.utility import Limit, Utility
from m2m.support.schema import did_you_mean

__all__ = [
    "STRATEGIES",
    "Annealing",
    "Beam",
    "Belief",
    "Contender",
    "Evaluation",
    "Exhaustive",
    "Greedy",
    "Hierarchical",
    "Limit",
    "MixtureList",
    "ModelBased",
    "Objective",
    "OptunaStudy",
    "PredictorRounds",
    "QuadraticPrior",
    "RandomSearch",
    "ScaledSimplex",
    "SearchResult",
    "Simplex",
    "Space",
    "Strategy",
    "Subsets",
    "TrustRegion",
    "Utility",
    "assess",
    "repetition_caps",
    "search",
    "strategy_named",
]

#: The strategies by the name users type.
STRATEGIES: dict[str, Strategy] = {
    "exhaustive": Exhaustive(),
    "random": RandomSearch(),
    "greedy": Greedy(),
    "backward": Greedy("backward"),
    "beam": Beam(),
    "annealing": Annealing(),
    "model": ModelBased(),
    "quadratic": TrustRegion(),
    "tpe": OptunaStudy("tpe"),
    "cmaes": OptunaStudy("cmaes"),
    "gp": OptunaStudy("gp"),
    "genetic": OptunaStudy("genetic"),
    "regmix": PredictorRounds("lightgbm-regmix", proposed=1, rounds=1),
    **{f"predictor:{name}": PredictorRounds(name) for name in (AUTO, *FAMILIES)},
}


def strategy_named(name: str) -> Strategy:
    """Find a strategy.

    Args:
        name: One of `STRATEGIES`.

    Returns:
        The strategy.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in STRATEGIES:
        hint = did_you_mean(name, STRATEGIES)
        raise ConfigError(f"there is no search strategy {name!r}{hint}; there are {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


#: The strategy where none is named, in Python and on the command line.
DEFAULT = "model"


def search(
    objective: Objective,
    space: Space,
    strategy: str | Strategy = DEFAULT,
    budget: int | None = None,
    seed: int = 0,
) -> SearchResult:
    """Look for the mixture with the best score.

    Args:
        objective: What is maximised or minimised.
        space: The mixtures that may be tried.
        strategy: A strategy, or the name of one of `STRATEGIES`.
        budget: Most evaluations; None for no limit.
        seed: Decides all random choices.

    Returns:
        The best mixture tried, and everything that was tried.

    """
    if isinstance(strategy, str):
        strategy = strategy_named(strategy)
    return strategy.search(objective, space, budget, seed)
