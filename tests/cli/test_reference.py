"""docs/cli.md is what the program says about itself."""

from __future__ import annotations

from pathlib import Path

from m2m.cli.reference import reference

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_option_is_in_it() -> None:
    text = reference()
    for word in (
        "--out",
        "--memory",
        "--threads",
        "--seed",
        "--json",
        "--resume",
        "--no-validate",
        "-v",
        "-q",
    ):
        assert word in text
