"""What fuzzers start from and what they found: each reader accepts it, or refuses with an error of m2m."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES = [(target, path) for target in TARGETS for path in sorted((CORPUS / target).iterdir())]


@pytest.mark.parametrize("target", TARGETS)
def test_every_reader_has_something_to_start_from(target: str) -> None:
    assert [path for name, path in FILES if name == target]


@pytest.mark.parametrize(("target", "path"), FILES, ids=[f"{name}-{path.name}" for name, path in FILES])
def test_a_reader_accepts_or_refuses(target: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CORPUS)  # targets go where they like
    TARGETS[target](path.read_bytes())
