"""What a predictor is: a family is fitted to scored mixtures and gives a model that scores others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from m2m.errors import FitError
from m2m.support.arrays import SMALLEST_DIFFERENCE, Floats

#: Seconds of one fit at most in `auto`, which makes fifteen of each family.
LONGEST_FIT = 15.0


class Model(Protocol):
    """A fitted predictor."""

    def predict(self, x: Floats) -> Floats:
        """Return the expected score of each mixture: `x` [M, N] to [M], in the score's unit."""


class FamilyError(FitError):
    """A family cannot be fitted to the rows it was given, and why."""

    def __init__(self, family: str, rows: int, why: str) -> None:
        super().__init__(f"{family} cannot be fitted to {rows} scored mixtures: {why}")
        self.family = family


class Fitter(Protocol):
    """The work of a family: from scored mixtures to a model; deterministic for a seed."""

    def __call__(self, x: Floats, y: Floats, seed: int, /) -> Model:
        """Return the model fitted to mixtures `x` [M, N] and their scores `y` [M]."""


@dataclass(frozen=True)
class Family:
    """A kind of predictor, by the name users type.

    Attributes:
        name: Its name.
        about: What it assumes, in a few words.
        fitter: What fits it.
        rows: Fewest scored mixtures it takes.
        rows_per_domain: And fewest a domain.
        domains: Most domains at which `auto` considers it: with more, its fits take too long.
        seconds: About how long one fit to M mixtures of N domains takes on one core; `auto` leaves families
            out that take longer than `LONGEST_FIT`.
        most: Most scored mixtures that it takes at all: with more, one fit does not fit in memory.
    """

    name: str
    about: str
    fitter: Fitter
    rows: int = 4
    rows_per_domain: float = 0.0
    domains: int = 1000
    seconds: Callable[[int, int], float] = lambda rows, domains: 0.0
    most: int = 1_000_000

    def in_time(self, rows: int, domains: int) -> bool:
        """Whether `auto` considers this family: fifteen fits are then a matter of minutes."""
        return domains <= self.domains and self.seconds(rows, domains) <= LONGEST_FIT

    def rows_needed(self, domains: int) -> int:
        """How many scored mixtures of so many domains this family takes at least."""
        return max(self.rows, round(self.rows_per_domain * domains))

    def fit(self, x: Floats, y: Floats, seed: int = 0) -> Model:
        """Fit the family to scored mixtures.

        Scores that are all the same have one answer, whatever the family.

        Args:
            x: Mixture weights; a row is on the simplex. [M, N]
            y: Scores. [M]
            seed: Decides all random choices.

        Returns:
            The fitted model.

        Raises:
            FamilyError: If the family cannot be fitted to these rows, or does not return their scores as
                finite numbers.
        """
        if np.ptp(y) < SMALLEST_DIFFERENCE:
            return Constant(float(y[0]))
        try:
            model = self.fitter(x, y, seed)
            finite = bool(np.isfinite(model.predict(x)).all())
        except (FitError, np.linalg.LinAlgError) as failure:
            raise FamilyError(self.name, len(y), str(failure)) from None
        if not finite:
            raise FamilyError(self.name, len(y), "what it predicts is not finite")
        return model


@dataclass(frozen=True)
class Constant:
    """Predicts one value."""

    value: float

    def predict(self, x: Floats) -> Floats:
        """The value, M times."""
        return np.full(len(x), self.value)


@dataclass(frozen=True)
class WeightedModels:
    """Predicts Σ weight · prediction.

    Attributes:
        weights: One a model. [L]
        models: The models; those of weight zero are not asked.
    """

    weights: Floats
    models: Sequence[Model]

    def used(self) -> WeightedModels:
        """The same without the models of weight zero."""
        kept = [model for weight, model in zip(self.weights, self.models, strict=True) if weight > 0]
        return WeightedModels(self.weights[self.weights > 0], kept)

    def predict(self, x: Floats) -> Floats:
        """Scores [M] of mixtures [M, N]."""
        total = np.zeros(len(x))
        for weight, model in zip(self.weights, self.models, strict=True):
            if weight > 0:
                total += weight * model.predict(x)
        return total
