"""Compiles the C++ test programs: every source once for each sanitizer, two at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
MEMORY, THREADS = "address,undefined", "thread"
FLAGS = ["-std=c++17", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-pthread"]
STREAM = ["stream_executor", "stream_file", "stream_merge", "stream_plan_check", "merge_cpu"]
STREAM += ["lora_factors", "lora_product"]
#: Program to the parts of csrc/ that it is linked with.
PROGRAMS = {
    "arithmetic_cases": [],
    "merge_cases": ["merge_cpu"],
    "stream_cases": STREAM,
    "fuzz/fuzz_stream": STREAM,
}


class Builder:
    """Compiles and links into one folder; what is there already is not made again."""

    def __init__(self, folder: Path, compiler: str) -> None:
        self._folder, self._compiler = folder, compiler
        self._pool = ThreadPoolExecutor(2)

    def program(self, name: str, sanitizer: str = MEMORY) -> Path:
        """Return the program, after compiling what it still lacks."""
        sources = [HERE / f"{name}.cpp", *(CSRC / f"{part}.cpp" for part in PROGRAMS[name])]
        target = self._folder / f"{Path(name).name}_{sanitizer}"
        if not target.exists():
            objects = list(self._pool.map(lambda source: self._object(source, sanitizer), sources))
            self._run("-pthread", f"-fsanitize={sanitizer}", *objects, "-o", target)
        return target

    def _object(self, source: Path, sanitizer: str) -> Path:
        target = self._folder / f"{source.stem}_{sanitizer}.o"
        if not target.exists():
            sanitized = ["-g", "-O1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
            self._run(*sanitized, *FLAGS, f"-I{CSRC}", f"-I{HERE}", "-c", source, "-o", target)
        return target

    def _run(self, *arguments: str | Path) -> None:
        done = subprocess.run([self._compiler, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def find_compiler() -> str:
    """Return the C++ compiler; a machine without one skips."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    return compiler


def can_sanitize_threads(builder_folder: Path) -> bool:
    """Say whether ThreadSanitizer can be linked, and runs on this kernel."""
    source, target = builder_folder / "threads.cpp", builder_folder / "threads"
    source.write_text("int main() { return 0; }\n")
    command = [find_compiler(), "-fsanitize=thread", source, "-o", target]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return False
    return subprocess.run([target], capture_output=True, check=False).returncode == 0
