"""Rounding that keeps the sum: decimals that sum to exactly 1, counts that sum to exactly the total."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from m2m.errors import MixtureError


def apportioned(weights: Sequence[float], total: int) -> list[int]:
    """Divide a total by the method of largest remainders (Hamilton); each share is off by less than 1.

    Args:
        weights: λ, not negative, summing to 1 but for rounding. [N]
        total: What is divided.

    Returns:
        Whole numbers that sum to `total`; of equal remainders the first goes up. [N]
    """
    exact = [Fraction(weight) for weight in weights]
    shares = [weight * total / sum(exact) for weight in exact]
    counts = [share.numerator // share.denominator for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda n: counts[n] - shares[n])
    for n in by_remainder[: total - sum(counts)]:
        counts[n] += 1
    return counts


def decimals(names: Sequence[str], weights: Sequence[float], digits: int) -> list[str]:
    """Write weights with a fixed number of decimals, so that what is written sums to exactly 1.

    Args:
        names: The dataset names, for the message. [N]
        weights: λ, all positive. [N]
        digits: Decimals.

    Returns:
        The numbers as text, each less than one unit of the last decimal off. [N]

    Raises:
        MixtureError: If a weight would be written as 0.
    """
    units = apportioned(weights, 10**digits)
    for name, weight, count in zip(names, weights, units, strict=True):
        if not count:
            raise MixtureError(
                f"the weight of {name!r}, {weight:.3g}, is 0 with {digits} digits; ask for more, or leave "
                f"it out"
            )
    return [f"{Decimal(count).scaleb(-digits):f}" for count in units]
