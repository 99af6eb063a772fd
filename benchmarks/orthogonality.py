"""Looking at task vectors: bytes read a second, beside a merge of the same files and only reading them.

    python benchmarks/orthogonality.py --base DIR --experts DIR DIR … --work DIR

All three read the base model and every expert once, warm in the page cache, with the same threads, in this
process, in turn. *look* is what `m2m-analysis orthogonality` does with files; *merge* is
`task_arithmetic`, which also writes one model; *read* is plain read() of 8 MiB in as many threads. CPU
seconds tell the same where other programs run beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import warm

import m2m
from m2m.checkpoint import Checkpoint
from m2m.merging.look import look_at_task_vectors


def read_all(files: Sequence[Path], threads: int) -> None:
    """Read files with plain read(), each thread a contiguous share of each file.

    Args:
        files: What to read.
        threads: How many threads.
    """

    def share(number: int) -> None:
        buffer = memoryview(bytearray(8 << 20))
        for path in files:
            size = path.stat().st_size
            place, end = size * number // threads, size * (number + 1) // threads
            with open(path, "rb", buffering=0) as file:
                file.seek(place)
                while place < end:
                    place += file.readinto(buffer[: end - place])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))


def cases(base: Path, experts: Sequence[Path], work: Path, threads: int) -> dict[str, Callable[[], None]]:
    """List what is compared.

    Args:
        base: Checkpoint of the base model.
        experts: Checkpoints of the experts. [N]
        work: Folder for the merged model.
        threads: How many threads each gets.

    Returns:
        What to run, by name.
    """
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": str(base),
        "models": [{"model": str(path), "parameters": {"weight": 1 / len(experts)}} for path in experts],
        "dtype": "bfloat16",
    }
    files = [file for model in (base, *experts) for file in sorted(model.glob("*.safetensors"))]
    warm(files)

    def look() -> None:
        look_at_task_vectors(Checkpoint(base), [Checkpoint(path) for path in experts], threads=threads)

    def merge() -> None:
        m2m.merge(recipe, work / "merged", threads=threads)
        shutil.rmtree(work / "merged")

    return {"look": look, "merge": merge, "read": lambda: read_all(files, threads)}


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--experts", type=Path, nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    size = sum(f.stat().st_size for m in (args.base, *args.experts) for f in m.glob("*.safetensors"))
    found = cases(args.base, args.experts, args.work, args.threads)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in found}
    for number in range(args.rounds + 1):  # the first round imports and is not counted
        for name, case in found.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            case()
            if number:
                seconds[name].append(time.perf_counter() - start)
                cpu_seconds[name].append(time.process_time() - cpu_start)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    cpu = {name: statistics.median(values) for name, values in cpu_seconds.items()}
    print(f"{size / 1e9:.2f} GB of input, {args.threads} threads, median of {args.rounds} rounds")
    for name, value in middle.items():
        rates = f"{size / value / 1e9:6.2f} GB/s   {middle['merge'] / value:5.2f} of merge's"
        span = f"{min(seconds[name]):.3f} to {max(seconds[name]):.3f} s"
        print(
            f"{name:6} {value:7.3f} s   {rates}   {span}   "
            f"{cpu[name]:.3f} CPU s, {cpu['merge'] / cpu[name]:.2f} of merge's"
        )
    json.dump(
        {"bytes": size, "threads": args.threads, "seconds": seconds, "cpu_seconds": cpu_seconds}, sys.stdout
    )
    print()


if __name__ == "__main__":
    main()
