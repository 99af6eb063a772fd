"""A search space that is a list: mixtures whose scores are already known, or that a user wrote down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from m2m.errors import MixtureError
from m2m.mixture import Mixture


class Pool:
    """The mixtures of a list.

    Args:
        mixtures: At least one, distinct, all over the same datasets.

    Attributes:
        datasets: The N dataset names.
        count: Number of mixtures.

    Raises:
        MixtureError: If there is none, one is there twice, or they are over different datasets.
    """

    def __init__(self, mixtures: Sequence[Mixture]) -> None:
        if not mixtures:
            raise MixtureError("a search needs at least one mixture to try")
        self._mixtures = {mixture.weights: mixture for mixture in mixtures}
        if len({mixture.datasets for mixture in mixtures}) > 1:
            raise MixtureError("the mixtures are over different datasets, or order them differently")
        if len(self._mixtures) < len(mixtures):
            labels = [mixture.label for mixture in mixtures]
            twice = next((label for label in labels if labels.count(label) > 1), labels[0])
            raise MixtureError(f"the mixture {twice} is there more than once; average or drop its repeats")
        self.datasets = mixtures[0].datasets
        self.count = len(mixtures)

    def __iter__(self) -> Iterator[Mixture]:
        return iter(self._mixtures.values())

    def __contains__(self, mixture: Mixture) -> bool:
        return mixture.datasets == self.datasets and mixture.weights in self._mixtures

    def at(self, number: int) -> Mixture:
        """Find a mixture by its place in the list.

        Args:
            number: In [0, count).

        Returns:
            The mixture.
        """
        return list(self._mixtures.values())[number]

    def sample(self, random: Random) -> Mixture:
        """Draw a mixture, each with the same probability.

        Args:
            random: Where the draw comes from.

        Returns:
            The mixture.
        """
        return self.at(random.randrange(self.count))
