"""Patterns of module names match as PEFT's do, and none that could take for ever is let in."""

from __future__ import annotations

import re

import pytest

from m2m.merging.lora.patterns import MOST_REPEATS, MOST_WAYS, of_module, pattern_fault

USUAL = [
    "q_proj",
    "layers.1.q_proj",
    r"model\.layers\.\d+\.self_attn\.(q|k|v)_proj",
    "^model.layers.0.mlp",
    ".*decoder.*attn",
    r"experts\.[0-9]{1,3}\.\w+",
    "(q_proj|v_proj)?",
    "(?:gate|up|down)_proj",
    "[a-z]+_proj",
    "(?=.*mlp)up_proj",
]


@pytest.mark.parametrize("pattern", USUAL)
def test_what_people_write_is_let_in(pattern: str) -> None:
    assert pattern_fault(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "(a|ab)*c",
        "(.*a){20}",
        "((ab)*)*",
        "(a?){50}a",
        "(?:(?:a+)?)+",
        "(a)(?(1)b|c)",
        "(?=(a+)+b)a",
    ],
)
def test_a_repeated_choice_is_refused(pattern: str) -> None:
    re.compile(pattern)
    assert "for ever" in str(pattern_fault(pattern))


def test_much_of_what_is_allowed_is_refused() -> None:
    assert pattern_fault(".*a" * MOST_REPEATS) is None
    assert "repetitions in a row" in str(pattern_fault(".*a" * (MOST_REPEATS + 1)))
    choices = MOST_WAYS.bit_length() - 1
    assert pattern_fault("(ab|cd)" * choices) is None
    assert "ways to match" in str(pattern_fault("(ab|ab)" * (choices + 1)))


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "*", "(" * 5000 + ")" * 5000])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert pattern_fault(pattern)


def test_the_first_that_fits_the_end_of_a_name_counts() -> None:
    patterns = {"layers.1.q": 3, "q": 2, "^model": 5, r"^model\.head": 7}
    assert of_module(patterns, "model.layers.1.q", 1) == 3
    assert of_module(patterns, "model.layers.2.q", 1) == 2
    assert of_module(patterns, "model.layers.2.xq", 1) == 1
    assert of_module(patterns, "model.head", 1) == 7


def test_the_worst_that_is_let_in_ends() -> None:
    """The bound of the work, nᵏ⁺¹/(k+1)! with PEFT's own prefix, is 3e7 steps here."""
    worst, name = ".*a" * MOST_REPEATS + "!", "a" * 80
    assert pattern_fault(worst) is None
    assert of_module({worst: 2}, name, 1) == 1
