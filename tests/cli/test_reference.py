"""docs/cli.md and docs/analysis_cli.md are what the programs say about themselves."""

from __future__ import annotations

from pathlib import Path

from m2m.cli.reference import analysis_reference, reference

DOCS = Path(__file__).parents[2] / "docs"


def test_the_document_is_up_to_date() -> None:
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_the_document_of_the_theory_is_up_to_date() -> None:
    text = (DOCS / "analysis_cli.md").read_text(encoding="utf-8")
    assert text == analysis_reference(), "run `make docs`"
    for words in ("## m2m-analysis error-bound", "`--lower-is-better`", "`--out DIR`"):
        assert words in text


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
