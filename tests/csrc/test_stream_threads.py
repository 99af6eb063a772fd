"""The stream executor under ThreadSanitizer: no two threads touch the same bytes unordered."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cpp_programs import HERE, THREADS, Builder, can_sanitize_threads

CASES = re.findall(r"^CASE\((\w+)\)", (HERE / "stream_cases.cpp").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def sanitized(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not can_sanitize_threads(tmp_path_factory.mktemp("threads")):
        pytest.skip("ThreadSanitizer does not run here")
    return builder.program("stream_cases", THREADS)


@pytest.mark.parametrize("case", CASES)
def test_case_has_no_data_race(case: str, sanitized: Path) -> None:
    done = subprocess.run([sanitized, case], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
