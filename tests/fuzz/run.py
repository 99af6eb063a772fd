"""Fuzz every target, guided by coverage: `python tests/fuzz/run.py SECONDS [TARGET…]`.

Seconds are those of the whole, spread over the targets, two of which run at a time. Targets in C++ need clang
with libFuzzer, those in Python need atheris (the extra `fuzz`); what cannot be had is said and left out. What
was learned is kept in .fuzz/TARGET for the next time. An input that fails goes to tests/fuzz/corpus/TARGET,
where the tests try it from then on.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus"
#: Where what was learned stays, outside of what is committed.
KEPT = ROOT / ".fuzz"
AT_A_TIME = 2
sys.path.insert(0, str(HERE.parent / "csrc"))

import cpp_programs  # noqa: E402

CPP = ("fuzz_stream", "fuzz_select")
PYTHON = ("header", "recipe", "configuration", "candidates", "scores", "mixtures")


def main() -> int:
    """Fuzz.

    Returns:
        The exit code: 1 if anything was found.
    """
    seconds = float(sys.argv[1])
    targets = tuple(sys.argv[2:]) or (*CPP, *PYTHON)
    with tempfile.TemporaryDirectory(prefix="m2m-fuzz-", dir=_fast_folder()) as place:
        commands = {name: command for name in targets if (command := command_of(name, Path(place)))}
        each = seconds * AT_A_TIME / max(AT_A_TIME, len(commands))
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            wrong = list(pool.map(lambda item: fuzz(*item, each, Path(place)), commands.items()))
    return int(any(wrong))


def command_of(name: str, place: Path) -> list[str] | None:
    """Return how a target is started; None, and a word about it, where its tools are missing."""
    if name in PYTHON:
        if importlib.util.find_spec("atheris") is None:
            print(f"NOTICE: no atheris here, so {name} was NOT fuzzed; install the extra `fuzz`")
            return None
        return [sys.executable, str(HERE / "atheris_driver.py"), name]
    compiler = shutil.which("clang++")
    if compiler is None or not can_fuzz(compiler, place):
        print(f"NOTICE: no clang with libFuzzer here, so {name} was NOT fuzzed (Debian: clang)")
        return None
    return [str(cpp_programs.Builder(place, compiler).fuzzer(f"fuzz/{name}"))]


def can_fuzz(compiler: str, place: Path) -> bool:
    """Say whether a compiler has libFuzzer and the sanitizers."""
    source = place / "empty.cpp"
    entry = "int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long)"
    source.write_text(f'extern "C" {entry} {{ return 0; }}\n')
    command = [compiler, f"-fsanitize=fuzzer,{cpp_programs.MEMORY}", source, "-o", place / "empty"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def fuzz(name: str, command: list[str], seconds: float, place: Path) -> bool:
    """Run one target, print what it did, keep what it found; say whether it found a fault."""
    learned, seeds, faults = KEPT / name, CORPUS / name, place / f"{name}-"
    learned.mkdir(parents=True, exist_ok=True)
    words = dictionary(seeds, place / f"{name}.dict")
    options = [
        f"-max_total_time={int(seconds)}",
        f"-artifact_prefix={faults}",
        f"-dict={words}",
        "-timeout=60",
    ]
    options += ["-rss_limit_mb=4096", "-print_final_stats=1", "-len_control=0", "-max_len=4096"]
    done = subprocess.run(
        [*command, learned, seeds, *options],
        cwd=ROOT,
        env=environment(place),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stdout + done.stderr
    runs, edges = (
        re.findall(pattern, said)[-1:] or ["no"] for pattern in (r"executed_units: (\d+)", r"cov: (\d+)")
    )
    print(f"{name}: {runs[0]} runs in {seconds:.0f} s, {edges[0]} edges", flush=True)
    found = sorted(place.glob(f"{name}-*-*"))
    for path in found:
        kept = seeds / path.name.removeprefix(f"{name}-")
        shutil.copyfile(path, kept)
        print(f"{name}: FAULT, kept as {kept.relative_to(ROOT)}")
    if found or done.returncode:
        print(said[-6000:])
    return bool(found or done.returncode)


def dictionary(seeds: Path, target: Path) -> Path:
    """Write the words of the seeds, from which inputs are made up."""
    words = {
        word
        for path in seeds.iterdir()
        for word in re.findall(rb"[\w.:=<*&\[{-]{2,24}", path.read_bytes())
        if word.isascii()
    }
    words.add(b"0")  # not even a target without seeds may have an empty one
    target.write_text("".join(f'"{word.decode()}"\n' for word in sorted(words)))
    return target


def environment(place: Path) -> dict[str, str]:
    """Return the environment of a target: one thread, its files in memory."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(place),
        "ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=0",
    }


def _fast_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
