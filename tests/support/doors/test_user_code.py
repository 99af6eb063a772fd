"""A user's own Python file is what it holds when it is asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from m2m.support.user_code import load_function


def test_an_edit_of_the_same_second_and_size_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "own.py"
    for number in (1, 2):
        path.write_text(f"def give():\n    return {number}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert load_function("own.py:give", tmp_path, "the test")() == number
    assert list(tmp_path.iterdir()) == [path]
