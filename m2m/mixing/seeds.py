"""Which mixtures are scored before anything is fitted: equal shares, priors, a grid, random ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, count
from math import comb

import numpy as np

from m2m.errors import ConfigError, MixtureError
from m2m.mixture import Mixture
from m2m.pipeline.mix_options import MixOptions
from m2m.searching import Simplex
from m2m.support.arrays import Floats

#: Two mixtures closer than this in every share are one.
SAME = 1e-9
#: Draws a missing seed, after which the bounds are said to leave too little room.
PATIENCE = 10


@dataclass(frozen=True)
class Seed:
    """A mixture that is scored before anything is fitted.

    Attributes:
        kind: Where it comes from: `equal`, `prior`, `grid` or `drawn`.
        mixture: The mixture.
    """

    kind: str
    mixture: Mixture


def seed_mixtures(space: Simplex, options: MixOptions, generator: np.random.Generator) -> list[Seed]:
    """Choose the seeds; bounds move what lies outside, and what falls together is one.

    Args:
        space: The mixtures that are allowed.
        options: How many of which kind.
        generator: Where random seeds come from.

    Returns:
        `options.seeds` different mixtures; equal shares come first.

    Raises:
        MixtureError: If the bounds leave less room than that.
    """
    chosen: list[Floats] = []
    seeds: list[Seed] = []
    for tried, (kind, point) in enumerate(_wanted(space, options, generator)):
        near = space.nearest(point)
        if all(np.abs(near - other).max() > SAME for other in chosen):
            chosen.append(near)
            seeds.append(Seed(kind, space.mixture(near)))
        if len(seeds) == options.seeds:
            break
        if tried > PATIENCE * options.seeds:
            raise MixtureError(
                f"floors and caps leave room for {len(seeds)} different mixtures, wanted {options.seeds} "
                f"seeds: raise caps, lower floors, or ask for fewer seeds"
            )
    return seeds


def _wanted(
    space: Simplex, options: MixOptions, generator: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    n = len(space.datasets)
    yield "equal", np.full(n, 1 / n)
    for prior in options.priors:
        yield "prior", np.array([prior.get(name, 0.0) for name in space.datasets])
    yield from (("grid", point) for point in grid(n, _levels(n, options)))
    while True:
        yield "drawn", generator.dirichlet(np.full(n, options.dirichlet))


def _levels(n: int, options: MixOptions) -> int:
    if options.grid is None:
        half = options.seeds // 2
        return next(level for level in count(1) if _size(n, level + 1) > half) if n <= half else 0
    if options.grid and _size(n, options.grid) > options.seeds - 1 - len(options.priors):
        raise ConfigError(
            f"a grid of {options.grid} levels over {n} datasets has {_size(n, options.grid)} mixtures, which "
            f"with equal shares and priors is more than {options.seeds} seeds: raise `seeds` or lower `grid`"
        )
    return options.grid


def _size(n: int, levels: int) -> int:
    return comb(levels + n - 1, n - 1)


def grid(n: int, levels: int) -> Iterator[Floats]:
    """Walk over the mixtures whose shares are multiples of 1/levels: Scheffé's {N, levels} lattice.

    Args:
        n: N.
        levels: Steps from a share of 0 to a share of 1; 0 for no mixture.

    Yields:
        Floats: The next mixture. [N]
    """
    for bars in combinations(range(levels + n - 1), n - 1) if levels else ():
        edges = np.array([-1, *bars, levels + n - 1])
        yield (np.diff(edges) - 1) / levels
