"""The C++ cases, one pytest item each, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FLAGS = ["-std=c++17", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-pthread"]
PROGRAMS = {"arithmetic_cases.cpp": [], "merge_cases.cpp": ["merge_cpu.cpp"]}
CASES = [
    (program, case)
    for program in PROGRAMS
    for case in re.findall(r"^CASE\((\w+)\)", (HERE / program).read_text(), re.MULTILINE)
]


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Give a function that compiles a program once a session and returns its path."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder, built = tmp_path_factory.mktemp("csrc"), {}

    def compiled(program):
        if program not in built:
            target = folder / Path(program).stem
            sources = [HERE / program, *(CSRC / name for name in PROGRAMS[program])]
            command = [compiler, *SANITIZED, *FLAGS, f"-I{CSRC}", f"-I{HERE}", *sources, "-o", target]
            subprocess.run(command, check=True)
            built[program] = target
        return built[program]

    return compiled


@pytest.mark.parametrize(("program", "case"), CASES, ids=[case for _, case in CASES])
def test_case(program, case, build):
    done = subprocess.run([build(program), case], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
