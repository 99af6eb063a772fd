"""Mixtures: which data, in which proportions. A mixture is a point λ of the simplex over N named datasets."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from m2m.errors import MixtureError
from m2m.support.names import check_names, folder_fault, label_fault, split_label

#: How far Σλ may be from 1: N float64 roundings of numbers ≤ 1, N ≤ 2²⁰.
SUM_TOLERANCE = 2.0**-32
#: Most subsets that are listed one by one: those of 20 datasets, half a gigabyte of mixtures.
MOST_SUBSETS = 2**20 - 1


@dataclass(frozen=True)
class Mixture:
    """A point λ of the simplex over N datasets, or, with equal non-zero weights, a subset of them.

    Attributes:
        datasets: The N dataset names, in the run's order.
        weights: λ, one non-negative number a dataset, summing to 1. [N]
    """

    datasets: tuple[str, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_datasets(tuple(self.datasets))
        if len(self.weights) != len(self.datasets):
            raise MixtureError(
                f"mixture has {len(self.weights)} weights for {len(self.datasets)} datasets "
                f"{list(self.datasets)}"
            )
        if not all(math.isfinite(w) and w >= 0 for w in self.weights):
            raise MixtureError(f"mixture weights must be finite and not negative, got {list(self.weights)}")
        total = _sum(self.weights)
        if abs(total - 1) > SUM_TOLERANCE:
            raise MixtureError(f"mixture weights must sum to 1, got {total!r} from {list(self.weights)}")

    @classmethod
    def subset(cls, datasets: Sequence[str], members: Iterable[str]) -> Mixture:
        """Pool some of the datasets with equal weights 1/|S| (Merge to Mix, arXiv 2505.16066).

        Args:
            datasets: The N dataset names, in the run's order.
            members: The names in S; at least one.

        Returns:
            The mixture with λ = 1/|S| on S and 0 elsewhere.

        Raises:
            MixtureError: If `members` is empty, or names a dataset twice or one that is not there.
        """
        listed = list(members)
        chosen = set(listed)
        if len(chosen) < len(listed):
            twice = next(name for name in listed if listed.count(name) > 1)
            raise MixtureError(f"{twice!r} is there twice among {listed}: a subset has each dataset once")
        unknown = chosen - set(datasets)
        if unknown:
            raise MixtureError(f"unknown datasets {sorted(unknown)}; there are {list(datasets)}")
        if not chosen:
            raise MixtureError("a subset needs at least one dataset: the empty mixture trains nothing")
        share = 1 / len(chosen)
        return cls(tuple(datasets), tuple(share if name in chosen else 0.0 for name in datasets))

    @classmethod
    def normalised(cls, amounts: Mapping[str, float]) -> Mixture:
        """Scale non-negative amounts (say, token counts) to a mixture.

        Args:
            amounts: Dataset name to amount, in the run's order. [N]

        Returns:
            The mixture with λ proportional to the amounts.

        Raises:
            MixtureError: If an amount is negative or not finite, or all are zero.
        """
        total = _sum(amounts.values())
        if not math.isfinite(total) or total <= 0:
            raise MixtureError(f"amounts must be finite and have a positive sum, got {dict(amounts)}")
        return cls(tuple(amounts), tuple(value / total for value in amounts.values()))

    @classmethod
    def parse(cls, label: str, datasets: Sequence[str]) -> Mixture:
        """Read a label, or what a person writes in its form; the mixture of a label is that very mixture.

        Args:
            label: `a+b` for equal weights, or `a=0.25+b=0.75`; blanks around names are left out.
            datasets: The N dataset names, in the run's order.

        Returns:
            The mixture.

        Raises:
            MixtureError: If the label is malformed, has a name twice or one that is not there, or its weights
                are none of a mixture.
        """
        parts = split_label(label)
        if "=" not in label:
            return cls.subset(datasets, parts)
        pairs = [part.partition("=") for part in parts]
        names = [name.strip() for name, _, _ in pairs]
        if len(set(names)) < len(names) or not set(names) <= set(datasets):
            raise MixtureError(f"{label!r}: wanted different names out of {list(datasets)}, got {names}")
        try:
            shares = {name: float(weight) for name, (_, _, weight) in zip(names, pairs, strict=True)}
        except ValueError:
            raise MixtureError(f"{label!r}: wanted a weight a name, as in a=0.25+b=0.75") from None
        return cls(tuple(datasets), tuple(shares.get(name, 0.0) for name in datasets))

    @property
    def shares(self) -> dict[str, float]:
        """Weight by dataset, those of weight zero included."""
        return dict(zip(self.datasets, self.weights, strict=True))

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the datasets with a weight above zero, in order."""
        return tuple(name for name, weight in zip(self.datasets, self.weights, strict=True) if weight > 0)

    @property
    def is_subset(self) -> bool:
        """Whether all non-zero weights are 1/|S|, so that the members say everything."""
        shares = {weight for weight in self.weights if weight > 0}
        return shares == {1 / len(self.members)}

    @property
    def label(self) -> str:
        """Name for tables: `a+b` for a subset, `a=0.25+b=0.75` otherwise, with all the digits it takes."""
        return "+".join(self.members) if self.is_subset else weights_label(self.datasets, self.weights)

    @property
    def shown(self) -> str:
        """The label with weights rounded for people; two mixtures may share it."""
        if self.is_subset:
            return self.label
        return shown_label(weights_label(self.datasets, self.weights))

    @property
    def folder_name(self) -> str:
        """Name for a folder: a subset's label, or the key where that is too long or would leave its place."""
        return self.label if self.is_subset and folder_fault(self.label) is None else self.key

    @property
    def key(self) -> str:
        """Content hash (16 hex digits) of names and exact weights."""
        text = "\n".join(f"{name} {(weight + 0.0).hex()}" for name, weight in self.shares.items())  # −0 is 0
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def weights_label(names: Sequence[str], weights: Sequence[float]) -> str:
    """Name weights of any sign and sum so that other weights get another name.

    Args:
        names: The N names.
        weights: A weight a name. [N]

    Returns:
        `a=0.25+b=0.75`, without names of weight zero unless all are.
    """
    pairs = [(name, weight) for name, weight in zip(names, weights, strict=True) if weight]
    return "+".join(f"{name}={_digits(weight)}" for name, weight in pairs or [(name, 0.0) for name in names])


def shown_label(label: str) -> str:
    """Round the weights of a label, as in `a=0.25+b=0.75`, to six decimals for people, without zeros."""
    rounded = re.sub(r"(?<==)-?[\d.]+(?:e-?\d+)?(?=\+|$)", lambda found: _rounded(float(found[0])), label)
    return "+".join(part for part in rounded.split("+") if not part.endswith("=0")) or rounded


def _rounded(weight: float) -> str:
    return f"{round(weight, 6) or 0.0:.6f}".rstrip("0").rstrip(".")


def _digits(weight: float) -> str:
    # Six where they say all, else as many as it takes to read the same number back.
    short = f"{weight:.6g}"
    return short if float(short) == weight else repr(float(weight))


def _sum(numbers: Iterable[float]) -> float:
    # Correctly rounded; not finite where it is too large, or holds both infinities.
    try:
        return math.fsum(numbers)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


@lru_cache(maxsize=256)
def _check_datasets(datasets: tuple[str, ...]) -> None:
    # A search makes many mixtures over the same datasets.
    if len(set(datasets)) != len(datasets):
        raise MixtureError(f"dataset names repeat: {list(datasets)}")
    check_names(datasets, "dataset", label_fault, MixtureError)


def all_subsets(datasets: Sequence[str]) -> list[Mixture]:
    """List the 2^N − 1 non-empty subsets as mixtures, small ones first, then in dataset order.

    Args:
        datasets: The N dataset names, in the run's order.

    Returns:
        The mixtures; the first N are the single datasets.

    Raises:
        MixtureError: If there are more than `MOST_SUBSETS`.
    """
    count = 2 ** len(datasets) - 1
    if count > MOST_SUBSETS:
        raise MixtureError(
            f"{len(datasets)} datasets have {count} subsets, and at most {MOST_SUBSETS} are listed one by "
            "one: name fewer, give the candidates as a table, or search with a budget (`m2m search`)"
        )
    sizes = range(1, len(datasets) + 1)
    return [Mixture.subset(datasets, members) for size in sizes for members in combinations(datasets, size)]


def weight_matrix(mixtures: Sequence[Mixture]) -> list[list[float]]:
    """Stack the mixtures' weights: at α = λ these are the merging weights of the candidates.

    Args:
        mixtures: M mixtures over the same N datasets.

    Returns:
        A row a mixture. [M, N]

    Raises:
        MixtureError: If the mixtures are not over the same datasets in the same order.
    """
    if len({mixture.datasets for mixture in mixtures}) > 1:
        raise MixtureError("the mixtures are over different datasets, or order them differently")
    return [list(mixture.weights) for mixture in mixtures]
