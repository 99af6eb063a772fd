"""Amounts of memory and misspelt keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import ConfigError
from m2m.support.schema import check_keys
from m2m.support.units import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("256MiB", 2**28), ("5GB", 5 * 10**9), ("1.5 GiB", 3 * 2**29), ("4096", 4096), ("0.3kb", 300), (7, 7)],
)
def test_amounts(text: str | int, wanted: int) -> None:
    assert parse_bytes(text) == wanted


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "1e9", "0", "0.1", "1 G B", "5GB!", "٣MB", "inf"])
def test_not_amounts(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bytes(text)
    assert repr(text) in str(caught.value)


@given(st.integers(1, 2**60))
def test_what_is_written_can_be_read_to_its_one_decimal(amount: int) -> None:
    read = parse_bytes(format_bytes(amount))
    # One decimal of a number ≥ 1 is off by half of 0.1 at most, so by 5 % of it; then a byte is cut off.
    assert abs(read - amount) <= amount / 20 + 1


def test_unknown_keys_are_all_named_with_a_suggestion() -> None:
    check_keys({"steps": 1}, ["steps", "batch"], "run.toml [train]")
    with pytest.raises(ConfigError) as caught:
        check_keys({"stesp": 1, "zzz": 2, "batch": 3}, ["steps", "batch"], "run.toml [train]")
    assert "run.toml [train]: unknown key 'stesp' (did you mean 'steps'?), 'zzz';" in str(caught.value)
