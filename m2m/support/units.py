"""Amounts of memory as people write them, `256MiB`, `5GB`, `1.5 GiB`, `4096`; times as they read them."""

from __future__ import annotations

import re
from fractions import Fraction

from m2m.errors import ConfigError

_DECIMAL = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BYTES = {unit.lower(): size for unit, size in {**_DECIMAL, **_BINARY}.items()}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)


def parse_bytes(text: str | int) -> int:
    """Read an amount of memory in bytes: `256MiB`, of 1024s, is not `256MB`; a bare number is bytes."""
    match = _AMOUNT.fullmatch(str(text).lower())
    if match is None or match[2] not in _BYTES:
        units = ", ".join([*list(_DECIMAL)[1:], *_BINARY])
        raise ConfigError(f"{str(text)!r} is not an amount of memory; wanted a number and one of: {units}")
    amount = int(Fraction(match[1]) * _BYTES[match[2]])
    if amount < 1:
        raise ConfigError(f"{str(text)!r} is less than one byte")
    return amount


def format_bytes(amount: int) -> str:
    """Write bytes for people: exact below 1 KiB (`12 B`), else with one decimal (`1.5 GiB`)."""
    if amount < 1024:
        return f"{amount} B"
    unit = max((unit for unit, size in _BINARY.items() if size <= amount), key=_BINARY.__getitem__)
    return f"{amount / _BINARY[unit]:.1f} {unit}"


def format_seconds(seconds: float | None) -> str:
    """Write a time for people, in two of its units at most."""
    if seconds is None:
        return "not known"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
