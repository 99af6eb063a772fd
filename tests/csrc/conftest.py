"""The programs under test, compiled once a session."""

from __future__ import annotations

import os

import pytest
from cpp_programs import Builder, find_compiler


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the parent of all workers' folders
        folder = folder.parent
    folder = folder / "csrc"
    folder.mkdir(exist_ok=True)
    return Builder(folder, find_compiler())
