"""Stacked evaluation against one by one: the ratio of wall times, by model size, batch and M.

python benchmarks/evaluate_stacked.py [--threads 1] [--out TABLE.json]

Each figure is the time of `score` (one live module, candidates one after the other) over that of
`score_stacked` on the same candidates and examples, both with merging: stacks of 32 and of 8. Above 1, the
stack is faster.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m2m.scoring import score_resident
from m2m.scoring.live.stacked import score_stacked
from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch

#: Name to (width, layers, examples a batch); an MLP with this many hidden layers.
SHAPES = {
    "10 k": (64, 2, 16),
    "10 k, large batches": (64, 2, 256),
    "35 k, 8 layers": (64, 8, 16),
    "100 k": (210, 2, 16),
    "500 k": (490, 2, 16),
    "5 M": (1570, 2, 16),
}
COUNTS = (15, 63, 127)
BATCHES = 2


class Regression(BatchedScorer):
    """Random examples; the loss is the squared error."""

    def __init__(self, width: int, batch: int) -> None:
        self.task, self.split, self.version, self.count = "regression", "validation", "1", batch * BATCHES
        self.metrics = {"loss": False}
        generator = torch.Generator().manual_seed(0)
        self._x = torch.randn(self.count, width, generator=generator)
        self._batch = batch

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over the examples."""
        x = self._x if examples is None else self._x[torch.as_tensor(examples)]
        for part in x.split(self._batch):
            yield TaskBatch({"input": part}, {"x": part})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Compare with the input's first columns."""
        return {"loss": ((output - batch.reference["x"][:, :8]) ** 2).mean(dim=-1)}


def network(width: int, layers: int) -> nn.Sequential:
    """Make the MLP."""
    inner = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.GELU())]
    return nn.Sequential(*inner, nn.Linear(width, 8))


def seconds(action: Callable[[], object]) -> float:
    """Time the faster of two runs."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(width: int, layers: int, batch: int, count: int) -> dict[str, float]:
    """Time one case, three experts."""
    torch.manual_seed(0)
    base, *experts = [network(width, layers).state_dict() for _ in range(4)]
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=count)
    model, scorers = network(width, layers), [Regression(width, batch)]
    arguments = (model, base, experts, weights, scorers)
    alone = seconds(lambda: score_resident(*arguments))
    stacks = {k: seconds(lambda k=k: list(score_stacked(*arguments, chunk=k))) for k in (32, 8)}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "one_by_one_ms": 1e3 * alone / count,
        "stacks_of_32": alone / stacks[32],
        "stacks_of_8": alone / stacks[8],
        "automatic": score_stacked(*arguments).chunk,
    }


def main() -> None:
    """Print the table, and keep it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        "| model | M | one by one, ms a candidate | stacks of 32 | stacks of 8 | automatic stack |\n"
        "|---|---|---|---|---|---|"
    )
    table = []
    for name, shape in SHAPES.items():
        for count in COUNTS:
            row = {"model": name, "M": count, **measure(*shape, count)}
            table.append(row)
            print(
                f"| {name} | {count} | {row['one_by_one_ms']:.3g} | {row['stacks_of_32']:.2f} |",
                f"{row['stacks_of_8']:.2f} | {row['automatic']} |",
                flush=True,
            )
    if args.out:
        args.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
