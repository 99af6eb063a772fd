"""The best point of the simplex by any fitted surface: many points at once, then closer around the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from m2m.searching.simplex import Simplex
from m2m.searching.simplex_minimum import edge_middles
from m2m.support.arrays import Floats

#: Rounds of a closer look; the surroundings halve each time, so the last are 2⁻¹² of the simplex.
ROUNDS = 12
#: Points that a round looks around, and how many new ones around each.
PARENTS, CHILDREN = 4, 128


@dataclass(frozen=True)
class FineSearch:
    """What a fine search found.

    Attributes:
        best: The mixture of the highest value; of several, their mean if it has it too (trees are flat in
            places). [N]
        points: The points spread over the simplex. [M, N]
        values: Their values, penalty included. [M]
    """

    best: Floats
    points: Floats
    values: Floats

    def mean_of_top(self, count: int) -> Floats:
        """Average the best of the points spread over the simplex (RegMix, arXiv 2407.01492, Sec. 3).

        Args:
            count: How many.

        Returns:
            Their mean. [N]
        """
        return np.asarray(self.points[np.argsort(-self.values, kind="stable")[:count]].mean(0))


def spread(space: Simplex, count: int, generator: np.random.Generator) -> Floats:
    """Spread points over a simplex: corners and edge middles, then uniform draws, all moved into the bounds.

    Args:
        space: The mixtures that are allowed.
        count: How many.
        generator: Where draws come from.

    Returns:
        A mixture a row. [M, N]
    """
    n = len(space.datasets)
    first, second = (ends[: max(0, count - n)] for ends in np.triu_indices(n, 1))
    fixed = np.vstack([np.eye(n)[:count], edge_middles(n, first, second)])
    return space.nearest(np.vstack([fixed, generator.dirichlet(np.ones(n), count - len(fixed))]))


def fine_search(
    value: Callable[[Floats], Floats], space: Simplex, points: Floats, generator: np.random.Generator
) -> FineSearch:
    """Look for the highest value of a function that is cheap on many mixtures at once.

    Nothing is asked of the function: it may be made of steps, as boosted trees are. The prior's penalty is
    taken off its values.

    Args:
        value: Mixtures [M, N] to values [M], higher is better.
        space: The mixtures that are allowed.
        points: Where to look first, as from `spread`. [M, N]
        generator: Where draws come from.

    Returns:
        What was found.
    """
    n = len(space.datasets)

    def net(at: Floats) -> Floats:
        return value(at) - space.penalties(at)

    values = net(points)
    seen, known = points, values
    for number in range(ROUNDS):
        top = np.argsort(-known, kind="stable")[:PARENTS]
        parents, radius = seen[top], 0.5 ** (number + 1)
        targets = generator.dirichlet(np.ones(n), (len(parents), CHILDREN))
        children = space.nearest((parents[:, None] + radius * (targets - parents[:, None])).reshape(-1, n))
        seen, known = np.vstack([parents, children]), np.concatenate([known[top], net(children)])
    ends, heights = np.vstack([points, seen]), np.concatenate([values, known])
    highest = ends[heights == heights.max()]
    middle = highest.mean(0)
    best = middle if net(middle[None])[0] >= heights.max() else highest[0]
    return FineSearch(best, points, values)
