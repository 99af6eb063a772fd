"""Mixtures and merging weights: which data in which proportions, and experts merged with which weights.

A mixture is a point λ of the simplex over N named datasets, and what a model is trained on. Merging weights
α are of any sign and sum; at α = λ the merged model stands in for that training.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

from m2m.errors import MixtureError
from m2m.support.names import check_names, folder_fault, label_fault, split_label

#: How far Σλ may be from 1: N float64 roundings of numbers ≤ 1, N ≤ 2²⁰.
SUM_TOLERANCE = 2.0**-32
#: A share within rounding of a fraction is that fraction, if its denominator is at most this. A share drawn
#: at random meets one by chance once in 10⁷ times, and then moves by its last bits only.
LARGEST_DENOMINATOR = 10**4
#: Relative rounding of a float64, 2⁻⁵².
EPSILON = 2.0**-52
#: A sum of weights smaller than this share of Σ|w| is cancellation, not a normaliser: dividing by it would
#: blow weights up.
CANCELLED = 2.0**-20
#: Most subsets that are listed one by one: those of 20 datasets, half a gigabyte of mixtures.
MOST_SUBSETS = 2**20 - 1


@dataclass(frozen=True)
class MergingWeights:
    """Merging weights α of N experts, of any sign and sum: the merged model is θ₀ + Σ α_n (θ_n − θ₀).

    Make them by `MergingWeights.of`: weights on the simplex are then a `Mixture`, and one model has one key.

    Attributes:
        datasets: The N experts' names, those of what they were trained on, in the run's order.
        weights: α, one finite number an expert. [N]
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
        self._check_weights()

    def _check_weights(self) -> None:
        if not all(map(math.isfinite, (*self.weights, _sum(self.weights)))):
            raise MixtureError(f"merging weights and their sum must be finite, got {list(self.weights)}")

    @staticmethod
    def of(datasets: Sequence[str], weights: Sequence[float]) -> MergingWeights:
        """Return the weights, as a `Mixture` where they are on the simplex.

        Args:
            datasets: The N experts' names, in the run's order.
            weights: A number an expert. [N]

        Returns:
            The weights.

        Raises:
            MixtureError: If they are not N finite numbers.
        """  # noqa: DOC502 - raised by what is called
        found = MergingWeights(tuple(datasets), tuple(weights))
        on_simplex = found.scale == 1 and all(weight >= 0 for weight in found.weights)
        return Mixture(found.datasets, found.weights) if on_simplex else found

    @classmethod
    def parse(cls, label: str, datasets: Sequence[str]) -> MergingWeights:
        """Read a label, or what a person writes in its form; the weights of a label are those very weights.

        Args:
            label: `a+b` for equal shares, or `a=0.25+b=-1.5`; blanks around names are left out.
            datasets: The N experts' names, in the run's order.

        Returns:
            The weights, as from `of`.

        Raises:
            MixtureError: If the label is malformed, or has a name twice or one that is not there.
        """  # noqa: DOC502 - raised by what is called
        if "=" not in label:
            return Mixture.subset(datasets, split_label(label))
        return MergingWeights.of(datasets, _parsed(label, datasets))

    @property
    def by_name(self) -> dict[str, float]:
        """Weight by expert, those of weight zero included."""
        return dict(zip(self.datasets, self.weights, strict=True))

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the experts that have a weight, in order."""
        return tuple(name for name, weight in zip(self.datasets, self.weights, strict=True) if weight)

    @property
    def scale(self) -> float:
        """Σα, how far the merged model goes along the mean task vector: 1 where it is so but for rounding."""
        total = _sum(self.weights)
        return 1.0 if abs(total - 1) <= SUM_TOLERANCE else total

    @property
    def base_weight(self) -> float:
        """Weight 1 − Σα of the base model θ₀ beside the experts': 0 where the scale is 1."""
        return 0.0 if self.scale == 1 else base_weight(self.weights)

    @property
    def mixture(self) -> Mixture:
        """The data that they stand for, λ = α/Σα: what is trained on; the scale is the merge's alone.

        Raises:
            MixtureError: If a weight is negative, or all are zero: no data has such shares.
        """
        if min(self.weights) < 0 or not self.members:
            what = "a negative share" if self.members else "the base model alone"
            raise MixtureError(f"{self.shown} stands for no mixture of data: it has {what}")
        if len({self.by_name[name] for name in self.members}) == 1:
            return Mixture.subset(self.datasets, self.members)
        shares = Mixture.normalised(self.by_name).weights
        return Mixture(self.datasets, tuple(clean_share(share, len(shares) * EPSILON) for share in shares))

    @property
    def label(self) -> str:
        """Name for tables: `a=0.25+b=-1.5`, with all the digits it takes."""
        return weights_label(self.datasets, self.weights)

    @property
    def shown(self) -> str:
        """The label with weights rounded for people; others may share it."""
        return shown_label(self.label)

    @property
    def key(self) -> str:
        """Content hash (16 hex digits) of names and exact weights."""
        text = "\n".join(f"{name} {(weight + 0.0).hex()}" for name, weight in self.by_name.items())  # −0 is 0
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Mixture(MergingWeights):
    """A point λ of the simplex over N datasets, or, with equal non-zero weights, a subset of them.

    It is what a model is trained on. As merging weights, α = λ, it makes the merged model Σ λ_n θ_n that
    stands in for that training.

    Attributes:
        datasets: The N dataset names, in the run's order.
        weights: λ, one non-negative number a dataset, summing to 1. [N]
    """

    def _check_weights(self) -> None:
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
        """  # noqa: DOC502 - raised by what is called
        if "=" not in label:
            return cls.subset(datasets, split_label(label))
        return cls(tuple(datasets), _parsed(label, datasets))

    @property
    def shares(self) -> dict[str, float]:
        """Weight by dataset, those of weight zero included."""
        return self.by_name

    @property
    def mixture(self) -> Mixture:
        """The mixture itself."""
        return self

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
        return self.label if self.is_subset else shown_label(self.label)

    @property
    def folder_name(self) -> str:
        """Name for a folder: a subset's label, or the key where that is too long or would leave its place."""
        return self.label if self.is_subset and folder_fault(self.label) is None else self.key


def _parsed(label: str, datasets: Sequence[str]) -> tuple[float, ...]:
    pairs = [part.partition("=") for part in split_label(label)]
    names = [name.strip() for name, _, _ in pairs]
    if len(set(names)) < len(names) or not set(names) <= set(datasets):
        raise MixtureError(f"{label!r}: wanted different names out of {list(datasets)}, got {names}")
    try:
        weights = {name: float(weight) for name, (_, _, weight) in zip(names, pairs, strict=True)}
    except ValueError:
        raise MixtureError(f"{label!r}: wanted a weight a name, as in a=0.25+b=0.75") from None
    return tuple(weights.get(name, 0.0) for name in datasets)


def clean_share(share: float, rounding: float) -> float:
    """Return the fraction that a share is but for rounding, such as ¼ or 2/7, or the share itself."""
    fraction = float(Fraction(share).limit_denominator(LARGEST_DENOMINATOR))
    return fraction if abs(fraction - share) <= rounding else share


def base_weight(weights: Sequence[float]) -> float:
    """Return the weight of θ₀ beside weighted experts: θ₀ + Σ α_n (θ_n − θ₀) = (1 − Σα) θ₀ + Σ α_n θ_n.

    Args:
        weights: α. [N]

    Returns:
        1 − Σα, added in ascending n, in float64.
    """
    total = 0.0
    for weight in weights:  # not `sum`, which newer Pythons round otherwise
        total += weight
    return 1.0 - total


def sum_to_divide_by(weights: Sequence[float]) -> float:
    """Return Σw, correctly rounded, by which weights are normalised.

    Args:
        weights: Numbers of any sign. [N]

    Returns:
        The sum.

    Raises:
        MixtureError: If they cancel, so that dividing by it would blow them up.
    """
    total = math.fsum(weights)
    if abs(total) <= CANCELLED * math.fsum(abs(weight) for weight in weights):
        raise MixtureError(f"weights {list(weights)} sum to {total:g}, so they cannot be normalised")
    return total


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
    # A `+` would part labels.
    short = f"{weight:.6g}"
    return (short if float(short) == weight else repr(float(weight))).replace("e+", "e")


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


def weight_matrix(mixtures: Sequence[MergingWeights]) -> list[list[float]]:
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
