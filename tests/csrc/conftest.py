"""The programs under test, compiled once a session."""

from __future__ import annotations

import pytest
from cpp_programs import Builder, find_compiler


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("csrc"), find_compiler())
