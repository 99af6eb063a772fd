"""The shares that examples are drawn in, and how often a training goes through each dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.setups.protocol import Setup
from m2m.setups.rows.inventory import inventory_of
from m2m.training.recipe import TrainRecipe


def sampled_mixture(
    mixture: Mixture,
    sizes: Mapping[str, int],
    recipe: TrainRecipe,
    lengths: Mapping[str, float] | None = None,
) -> Mixture:
    """Say in which shares of examples a mixture is drawn.

    A dataset of E examples with ℓ tokens each has the share λ·(E·ℓ)^k / ℓ of the examples, up to a common
    factor: k is 0 where sampling is balanced, 1 where it is proportional, 1/T at temperature T (arXiv
    1910.10683, section 3.5.2, with λ as further weights). Where shares count examples, ℓ is 1.

    Args:
        mixture: The mixture, λ.
        sizes: Examples by dataset name, E.
        recipe: Its `sampling`, `temperature` and `count`.
        lengths: Mean tokens of an example by dataset name, ℓ; needed where shares count tokens.

    Returns:
        The shares of examples; λ itself where sampling is balanced and examples are counted.

    Raises:
        ConfigError: If shares count tokens, and it is not known how many there are.
    """
    if recipe.sampling == "balanced" and recipe.count == "examples":
        return mixture
    if recipe.count == "examples":
        lengths = dict.fromkeys(sizes, 1.0)
    elif lengths is None:
        raise ConfigError(
            'train.count = "tokens" wants to know how many tokens examples have, which this set-up or '
            'trainer does not tell: count = "examples"'
        )
    power = recipe.size_power
    return Mixture.normalised(
        {
            name: share * ((sizes[name] * lengths[name]) ** power / lengths[name]) if share else 0.0
            for name, share in mixture.shares.items()
        }
    )


def drawn_mixture(setup: Setup, mixture: Mixture, recipe: TrainRecipe) -> Mixture:
    """Say in which shares of examples a mixture of a set-up's datasets is drawn; see `sampled_mixture`."""
    sizes = {name: len(examples) for name, examples in setup.datasets.items()}
    return sampled_mixture(mixture, sizes, recipe, inventory_of(setup).lengths)


@dataclass(frozen=True)
class Exposure:
    """What a training sees of one dataset.

    Attributes:
        share: Its share of the examples that are drawn.
        token_share: Its share of the tokens that are drawn; None where it is not known how many there are.
        epochs: How often the training goes through it.
    """

    share: float
    token_share: float | None
    epochs: float


def exposures(
    mixture: Mixture, sizes: Mapping[str, int], recipe: TrainRecipe, lengths: Mapping[str, float] | None
) -> dict[str, Exposure]:
    """Say what a training on a mixture sees of each of its datasets; arguments as of `sampled_mixture`.

    Args:
        mixture: The mixture.
        sizes: Examples by dataset name.
        recipe: How it is trained on.
        lengths: Mean tokens of an example by dataset name; None: not known.

    Returns:
        By dataset name, for the mixture's members.
    """
    drawn = sampled_mixture(mixture, sizes, recipe, lengths).shares
    count = recipe.total_steps(mixture) * recipe.batch
    tokens = None if lengths is None else {name: drawn[name] * lengths[name] for name in mixture.members}
    return {
        name: Exposure(
            share=drawn[name],
            token_share=None if tokens is None else tokens[name] / sum(tokens.values()),
            epochs=count * drawn[name] / sizes[name],
        )
        for name in mixture.members
    }
