"""Compiles the C++ test programs: every source once for each sanitizer, however many processes test."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
MEMORY, THREADS = "address,undefined", "thread"
FLAGS = ["-std=c++17", "-ffp-contract=off", "-pthread"]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
#: For libFuzzer's clang, which warns of other things and lacks some attributes that only cost speed.
FUZZED = ["-DM2M_LIBFUZZER", "-Wno-ignored-attributes"]
#: Where `cuda_runtime_api.h` is found: the emulator, never a toolkit.
EMULATED = f"-I{HERE / 'emulated_cuda'}"
MERGE = ["core/isa", "core/merge_cpu"]
STREAM = [*MERGE, "core/merge_device", "core/nonfinite", "lora/product"]
STREAM += [
    f"stream/{part}" for part in ("executor", "file", "gathered", "lora_factors", "merge_pass", "plan_check")
]
SELECT = ["core/ordered_sum", "core/philox", "select/bracket", "select/rank", "select/rows"]
SELECT_PASS = [f"select/{part}" for part in ("blocks", "chunk", "experts", "select_pass", "state")] + SELECT
#: Program to the parts of csrc/ that it is linked with.
PROGRAMS = {
    "arithmetic_cases": [],
    "merge_cases": MERGE,
    "stream_cases": STREAM,
    "select_cases": [*SELECT, "select/blocks", *MERGE],
    "change_cases": [*STREAM, *SELECT_PASS],
    "lora_cases": [*MERGE, "lora/product", "lora/lora_sum"],
    "gram_cases": ["core/isa", "gram/kernel", "gram/points", "gram/signs"],
    "mapped_cases": ["stream/mapped_file"],
    "cuda_cases": [*STREAM, "cuda/device"],
    "fuzz/fuzz_stream": STREAM,
    "fuzz/fuzz_select": [*STREAM, *SELECT_PASS],
}


class Builder:
    """Compiles and links into one folder, which processes share; what is there already is not made again."""

    def __init__(self, folder: Path, compiler: str) -> None:
        self._folder, self._compiler = folder, compiler
        self._pool = ThreadPoolExecutor(2)

    def program(self, name: str, sanitizer: str = MEMORY) -> Path:
        """Return the program, after compiling what it still lacks."""
        return self._linked(name, [CSRC / f"{part}.cpp" for part in PROGRAMS[name]], sanitizer)

    def fuzzer(self, name: str) -> Path:
        """Return a fuzz target that libFuzzer drives; the compiler must be a clang that has it."""
        return self.program(name, f"fuzzer,{MEMORY}")

    def program_with_bug(self, name: str, part: str, right: str, wrong: str) -> Path:
        """Return the program with `right` replaced by `wrong` in one part of csrc/."""
        source = (CSRC / f"{part}.cpp").read_text()
        assert source.count(right) == 1, f"{part}.cpp has no longer one {right!r}"
        broken = self._folder / f"{Path(part).name}_{crc32((right + wrong).encode()):08x}.cpp"
        broken.write_text(source.replace(right, wrong))
        parts = [broken if one == part else CSRC / f"{one}.cpp" for one in PROGRAMS[name]]
        return self._linked(f"{name}_{broken.stem}", parts, MEMORY, main=name)

    def _linked(self, name: str, parts: list[Path], sanitizer: str, main: str | None = None) -> Path:
        sources = [HERE / f"{main or name}.cpp", *parts]
        target = self._folder / f"{Path(name).name}_{sanitizer}"
        with _made_once(target) as missing:
            if missing:
                objects = list(self._pool.map(lambda source: self._object(source, sanitizer), sources))
                self._run("-pthread", f"-fsanitize={sanitizer}", *objects, "-o", target)
        return target

    def _object(self, source: Path, sanitizer: str) -> Path:
        is_part = CSRC in source.parents
        name = "_".join(source.relative_to(CSRC).with_suffix("").parts) if is_part else source.stem
        target = self._folder / f"{name}_{sanitizer}.o"
        optimized = "-O1" if is_part else "-O0"  # compiling takes longer than running
        sanitized = ["-g1", optimized, f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
        sanitized += FUZZED if sanitizer.startswith("fuzzer") else WARNINGS
        with _made_once(target) as missing:
            if missing:
                self._run(*sanitized, *FLAGS, f"-I{CSRC}", f"-I{HERE}", EMULATED, "-c", source, "-o", target)
        return target

    def _run(self, *arguments: str | Path) -> None:
        done = subprocess.run([self._compiler, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@contextmanager
def _made_once(target: Path) -> Iterator[bool]:
    """Tell whether a file is missing, while no other thread or process makes it."""
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not target.exists()


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
