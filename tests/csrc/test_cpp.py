"""The C++ cases, one pytest item each, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import re
import subprocess

import pytest
from cpp_programs import HERE, Builder

CASES = [
    (program.stem, case)
    for program in sorted(HERE.glob("*_cases.cpp"))
    for case in re.findall(r"^CASE\((\w+)\)", program.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("program", "case"), CASES, ids=[case for _, case in CASES])
def test_case(program: str, case: str, builder: Builder) -> None:
    done = subprocess.run([builder.program(program), case], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
