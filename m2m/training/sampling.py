"""Which examples each step trains on: exact mixture shares, a dataset's order whatever the mixture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import lcm

import torch
from torch import Tensor

from m2m.errors import ConfigError, DataError, MixtureError
from m2m.mixture import Mixture
from m2m.training.recipe import Sampling


def sampled_mixture(mixture: Mixture, sizes: Mapping[str, int], sampling: Sampling) -> Mixture:
    """Turn a mixture into the shares its examples are drawn in.

    Args:
        mixture: The mixture λ.
        sizes: Number of examples by dataset name.
        sampling: `balanced` leaves λ as it is; `proportional` takes λ × size, rescaled to sum to 1.

    Returns:
        The mixture of the drawn examples, with the same members.
    """
    if sampling == "balanced":
        return mixture
    pairs = zip(mixture.datasets, mixture.weights, strict=True)
    return Mixture.normalised({name: weight * sizes[name] if weight else 0.0 for name, weight in pairs})


class MixtureSampler:
    """Endless batches of example numbers, one tensor a member dataset.

    After t steps a dataset has given λ·B·t examples to within less than one, for every t (Tijdeman, "The
    chairman assignment problem", Discrete Mathematics 32, 1980). Each dataset walks its own shuffled epochs,
    keyed by (seed, name), so the k-th example drawn from it is the same in every mixture; a single dataset
    gives the expert's stream.

    Args:
        mixture: The shares λ to draw in.
        sizes: Number of examples by dataset name; members of the mixture at least.
        batch: Examples a step, B.
        seed: Decides the order of the examples.

    Raises:
        ConfigError: If `batch` is below 1.
        MixtureError: If a member has no size.
        DataError: If a member has no examples.
    """

    def __init__(self, mixture: Mixture, sizes: Mapping[str, int], batch: int, seed: int) -> None:
        if batch < 1:
            raise ConfigError(f"a batch needs at least one example, got {batch}")
        unknown = [name for name in mixture.members if name not in sizes]
        if unknown:
            raise MixtureError(f"the mixture {mixture.label} draws from {unknown}; there are {list(sizes)}")
        empty = [name for name in mixture.members if sizes[name] < 1]
        if empty:
            raise DataError(f"the mixture {mixture.label} draws from {empty}, which have no examples")
        self._mixture, self._batch, self._seed = mixture, batch, seed
        self._sizes = {name: sizes[name] for name in mixture.members}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Walk from the first step.

        Yields:
            dict[str, Tensor]: Example numbers by dataset; those that give none are absent. each [b], Σb = B
        """
        members = self._mixture.members
        turns = take_turns([weight for weight in self._mixture.weights if weight > 0])
        streams = {name: shuffled_epochs(name, size, self._seed) for name, size in self._sizes.items()}
        while True:
            picked: dict[str, list[int]] = {name: [] for name in members}
            for _ in range(self._batch):
                name = members[next(turns)]
                picked[name].append(next(streams[name]))
            yield {name: torch.tensor(index) for name, index in picked.items() if index}


def take_turns(weights: list[float]) -> Iterator[int]:
    """Assign slots 1, 2, 3, … to n parties so that nobody is ever a whole slot ahead or behind.

    Tijdeman's rule: of the parties whose deficit λᵢk − cᵢ is at least 1/(2n − 2), the one that would soonest
    be 1 − 1/(2n − 2) behind gets slot k; then |λᵢk − cᵢ| ≤ 1 − 1/(2n − 2) always. Whole numbers throughout:
    no rounding piles up over the steps.

    Args:
        weights: Shares of the parties, above zero; scaled to sum to 1. [n]

    Yields:
        int: The party of the next slot, in [0, n).
    """
    ratios = [Fraction(weight) for weight in weights]
    scale = lcm(*(ratio.denominator for ratio in ratios))
    shares = [int(ratio * scale) for ratio in ratios]
    whole, slack = sum(shares), 2 * len(shares) - 2
    if not slack:
        while True:
            yield 0
    deficits = [0] * len(shares)  # whole · (λᵢk − cᵢ)
    while True:
        deficits = [deficit + share for deficit, share in zip(deficits, shares, strict=True)]
        eligible = [i for i, deficit in enumerate(deficits) if slack * deficit >= whole]
        turn = min(
            eligible, key=lambda i: (Fraction((slack - 1) * whole - slack * deficits[i], shares[i]), i)
        )
        deficits[turn] -= whole
        yield turn


def shuffled_epochs(name: str, size: int, seed: int) -> Iterator[int]:
    """Walk a dataset again and again, in a new order each epoch.

    Args:
        name: The dataset's name; with `seed` and the epoch it decides the order.
        size: Number of examples E, at least 1.
        seed: The training seed.

    Yields:
        int: The next example's number, in [0, E).
    """
    epoch = 0
    while True:
        digest = hashlib.sha256(f"{seed}\n{name}\n{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
        yield from torch.randperm(size, generator=generator).tolist()
        epoch += 1
