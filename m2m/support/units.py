"""Amounts of memory as people write them: `256MiB`, `5GB`, `1.5 GiB`, `4096`."""

from __future__ import annotations

import re
from fractions import Fraction

from m2m.errors import ConfigError

_DECIMAL = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BYTES = {unit.lower(): size for unit, size in {**_DECIMAL, **_BINARY}.items()}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)


def parse_bytes(text: str | int) -> int:
    """Read an amount of memory; powers of 1000 (`kB`, `MB`, …) and of 1024 (`KiB`, `MiB`, …) are told apart.

    Args:
        text: A number and a unit in any case, as in `256MiB`; a bare number is bytes.

    Returns:
        The amount in bytes, a fraction of a byte cut off; never negative.

    Raises:
        ConfigError: If there is no number, the unit is unknown, or the amount is below one byte.
    """
    match = _AMOUNT.fullmatch(str(text).lower())
    if match is None or match[2] not in _BYTES:
        units = ", ".join([*list(_DECIMAL)[1:], *_BINARY])
        raise ConfigError(f"{str(text)!r} is not an amount of memory; wanted a number and one of: {units}")
    amount = int(Fraction(match[1]) * _BYTES[match[2]])
    if amount < 1:
        raise ConfigError(f"{str(text)!r} is less than one byte")
    return amount


def format_bytes(amount: int) -> str:
    """Write an amount of memory for people, in powers of 1024.

    Args:
        amount: Bytes, not negative.

    Returns:
        Exact below 1 KiB (`12 B`), otherwise with one decimal (`1.5 GiB`).
    """
    if amount < 1024:
        return f"{amount} B"
    unit = max((unit for unit, size in _BINARY.items() if size <= amount), key=_BINARY.__getitem__)
    return f"{amount / _BINARY[unit]:.1f} {unit}"
