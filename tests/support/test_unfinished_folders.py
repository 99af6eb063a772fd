"""Unfinished folders of several processes in one place: each has its own, and none takes another's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from m2m.support import files


def test_a_folder_that_was_taken_for_a_dead_process_s_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, taken = os.open, []

    def late(path: Any, *rest: Any, **more: Any) -> int:
        if not taken and str(path).endswith(files.UNFINISHED):
            taken.append(path)
            os.rmdir(path)
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", late)
    with files.unfinished_folder(tmp_path / "work", tmp_path) as folder:
        assert folder.is_dir()
        assert taken == [path for path in taken if path != folder]
    assert len(taken) == 1
