"""What a predictor is: a family is fitted to scored mixtures and gives a model that scores others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Mixture weights [M, N], features [M, F] or scores [M], float64.
Array = NDArray[np.float64]


class Model(Protocol):
    """A fitted predictor."""

    def predict(self, x: Array) -> Array:
        """Return the expected score of each mixture: `x` [M, N] to [M], in the score's unit."""


class Fit(Protocol):
    """The work of a family: from scored mixtures to a model; deterministic for a seed."""

    def __call__(self, x: Array, y: Array, seed: int, /) -> Model:
        """Return the model fitted to mixtures `x` [M, N] and their scores `y` [M]."""


@dataclass(frozen=True)
class Family:
    """A kind of predictor, by the name users type.

    Attributes:
        name: Its name.
        about: What it assumes, in a few words.
        work: What fits it.
        rows: Fewest scored mixtures it takes.
        rows_per_domain: And fewest a domain.
        domains: Most domains at which `auto` considers it: with more, its fits take too long.
    """

    name: str
    about: str
    work: Fit
    rows: int = 4
    rows_per_domain: float = 0.0
    domains: int = 1000

    def rows_needed(self, domains: int) -> int:
        """Say how many scored mixtures this family takes at least.

        Args:
            domains: Number of domains N.

        Returns:
            The number of rows.
        """
        return max(self.rows, round(self.rows_per_domain * domains))

    def fit(self, x: Array, y: Array, seed: int = 0) -> Model:
        """Fit the family to scored mixtures.

        A table whose scores are all the same has one answer, whatever the family.

        Args:
            x: Mixture weights; a row is on the simplex. [M, N]
            y: Scores. [M]
            seed: Decides all random choices.

        Returns:
            The fitted model.
        """
        if np.ptp(y) == 0:
            return Constant(float(y[0]))
        return self.work(x, y, seed)


@dataclass(frozen=True)
class Constant:
    """Predicts one value.

    Attributes:
        value: The value, in the score's unit.
    """

    value: float

    def predict(self, x: Array) -> Array:
        """Return the value for every mixture.

        Args:
            x: Mixture weights. [M, N]

        Returns:
            The value, M times. [M]
        """
        return np.full(len(x), self.value)
