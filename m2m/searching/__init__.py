"""Search for the best mixture: strategies over a shared objective, space and budget."""

from __future__ import annotations

from m2m.errors import ConfigError
from m2m.searching.exhaustive import Exhaustive
from m2m.searching.greedy import Greedy
from m2m.searching.model_based import ModelBased
from m2m.searching.objective import Evaluation, Objective
from m2m.searching.random_subsets import RandomSubsets
from m2m.searching.space import Subsets
from m2m.searching.strategy import SearchResult, Strategy

__all__ = [
    "STRATEGIES",
    "Evaluation",
    "Exhaustive",
    "Greedy",
    "ModelBased",
    "Objective",
    "RandomSubsets",
    "SearchResult",
    "Strategy",
    "Subsets",
    "search",
]

#: The strategies by the name users type.
STRATEGIES: dict[str, Strategy] = {
    "exhaustive": Exhaustive(),
    "random": RandomSubsets(),
    "greedy": Greedy(),
    "backward": Greedy("backward"),
    "model": ModelBased(),
}


def search(
    objective: Objective,
    space: Subsets,
    strategy: str | Strategy = "exhaustive",
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

    Raises:
        ConfigError: If no strategy has that name.
    """
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            raise ConfigError(f"no search strategy {strategy!r}; there are {list(STRATEGIES)}")
        strategy = STRATEGIES[strategy]
    return strategy.search(objective, space, budget, seed)
