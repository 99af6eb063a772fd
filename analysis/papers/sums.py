"""Weighted sums of checkpoints, of weights of any sign, scored on a set-up's targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from m2m.scoring import Means, Scores, ScoreSource, Targets, verified_models
from m2m.scoring.bench import setup_bench
from m2m.support.arrays import Floats
from m2m.support.devices import one_thread
from m2m.support.progress import Progress


def scored_sums(
    rows: Floats, models: Mapping[str, Path], base: Path, known: Targets, targets: Sequence[str], what: str,
    progress: Progress,
) -> Iterator[tuple[int, Sequence[Scores]]]:  # fmt: skip
    """Score weighted sums of checkpoints on validation.

    Args:
        rows: A row of weights a sum. [J, K]
        models: Checkpoint folder of each model by name. [K]
        base: Checkpoint folder of their base model.
        known: The set-up and its targets.
        targets: Names of the targets. [T]
        what: What to tell.
        progress: Is told sums done and in all.

    Yields:
        The number of a sum, and its scores on every target. [T]
    """
    bench = setup_bench(known, targets)
    with (
        one_thread(),
        verified_models(base, models) as opened,
        ScoreSource(opened, bench, Means("resident")) as source,
    ):
        names = [f"{what} {number}" for number in range(len(rows))]
        for number, scores in source.walk(rows, names, bench.scorers):
            yield number, scores
            progress(number + 1, len(rows), what)
