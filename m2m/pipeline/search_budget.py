"""How many mixtures are merged and scored: every subset, or as many as a search may ask for."""

from __future__ import annotations

from m2m.errors import ConfigError
from m2m.pipeline.config import RunConfig

#: Up to so many datasets every subset is scored, unless a budget says otherwise.
MOST_DATASETS = 12
#: Mixtures that a search scores at most, and at least a dataset, where no budget is given.
BUDGET, EACH = 300, 6


def search_budget(config: RunConfig, datasets: int) -> int | None:
    """Say how many mixtures are merged and scored at most.

    Args:
        config: The run configuration.
        datasets: N.

    Returns:
        The search's budget; None where every subset is scored.

    Raises:
        ConfigError: If there are fewer than two datasets, the budget leaves no mixture, or a search leaves
            mixtures that are to be trained all.
    """
    if datasets < 2:
        raise ConfigError(f"{config.path} [setup]: got {datasets} datasets; a mixture wants 2 or more")
    every, budget = 2**datasets - 1, config.run.budget
    if budget is not None and budget <= datasets:
        raise ConfigError(
            f"{config.path} [run]: `budget` must be above the {datasets} datasets, whose experts are scored "
            f"in any case, got {budget}"
        )
    if budget is None and datasets > MOST_DATASETS:
        budget = max(BUDGET, EACH * datasets)
    if budget is None or budget >= every:
        return None
    if config.run.trains_all:
        raise ConfigError(
            f"{config.path} [run]: `validate = true` trains every mixture, but a search scores {budget} of "
            f"{every}; say how many to train, as in `validate = 6`"
        )
    return budget
