"""The merge kernel against the memory's speed: bytes moved a second, beside copying memory, in turn.

    python benchmarks/kernel.py [--experts 8] [--elements 8388608] [--rounds 30]

Bytes moved are what must move: N inputs read and M outputs written once, whatever M. `torch` does the same
sums the usual way: a float32 matrix product of the stacked experts, rounded at the end.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from m2m.build import build_info
from m2m.ops import weighted_sum_into


def seconds(work: Callable[[], object]) -> float:
    """Time one call.

    Args:
        work: What to call.

    Returns:
        Wall seconds.
    """
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run all sides in turn and take each one's median.

    Args:
        sides: What to time, by name.
        rounds: How often.

    Returns:
        Median wall seconds by name.
    """
    for work in sides.values():
        work()
    runs = [{name: seconds(work) for name, work in sides.items()} for _ in range(rounds)]
    return {name: statistics.median(run[name] for run in runs) for name in sides}


def stacked_product(outs: Tensor, experts: list[Tensor], weights: Tensor) -> None:
    """Merge as torch users do: stack, multiply in float32, round.

    Args:
        outs: Takes the candidates. [M, P]
        experts: The experts. [N] of [P]
        weights: Merging weights. [M, N]
    """
    outs.copy_(weights @ torch.stack(experts).float())


def main() -> None:
    """Print a table: one row a number of candidates and of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--elements", type=int, default=1 << 23)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    experts = [torch.randn(args.elements).bfloat16() for _ in range(args.experts)]
    print(
        f"bf16, N = {args.experts}, P = {args.elements}, {build_info()['isa']}, torch {torch.__version__}\n"
    )
    print(
        "| M | threads | m2m GB/s | copy GB/s | m2m / copy | torch / m2m, time |\n|---|---|---|---|---|---|"
    )
    for candidates in (1, 4, 8, 16):
        weights = torch.rand(candidates, args.experts)
        outs = torch.empty(candidates, args.elements, dtype=torch.bfloat16)
        moved = 2 * args.elements * (args.experts + candidates)
        source, target = torch.zeros(2, moved // 2, dtype=torch.uint8)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            took = interleaved(
                {
                    "m2m": lambda: weighted_sum_into(list(outs), experts, weights),  # noqa: B023
                    "copy": lambda: target.copy_(source),  # noqa: B023
                    "torch": lambda: stacked_product(outs, experts, weights),  # noqa: B023
                },
                args.rounds if candidates < 8 else max(3, args.rounds // 3),
            )
            speed = {name: moved / took[name] / 1e9 for name in ("m2m", "copy")}
            print(
                f"| {candidates} | {threads} | {speed['m2m']:.1f} | {speed['copy']:.1f} | "
                f"{speed['m2m'] / speed['copy']:.2f} | {took['torch'] / took['m2m']:.1f} |"
            )


if __name__ == "__main__":
    main()
