"""What `m2m run --dry-run` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from m2m.cli.output import print_table
from m2m.support.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from m2m.pipeline.workload import Scoring, Trainings
    from m2m.verbs.estimate import DryRun


def tell(found: DryRun) -> None:
    """Print counts first, then estimates."""
    work, timing = found.workload, found.timing
    there = f" ({found.out} has {work.there} trained models)" if work.there else ""
    print(f"A run of {found.config.name} would do this; nothing was kept{there}.\n")
    _print(("trainings", "models", "steps", "examples", "tokens"), _trainings(work.trainings))
    if work.given:
        print(f"{work.given} experts exist already, and are taken")
    print()
    scorings = (work.merged, work.trained, work.tested, work.embedded)
    _print(("scored", "at most", "on examples each", "forwards"), _scored(scorings))
    print(f"\nestimated from one timed step and one timed forward, with {_workers(found.workers)}:")
    step = "" if timing.step is None else f"{timing.step:.3g} s a training step, "
    free = f"{format_bytes(timing.free)} free"
    print_table(
        [
            ["  time", f"up to {_time(found)} ({step}{timing.example:.3g} s an example that is scored)"],
            ["", "; ".join(f"{kind} {format_seconds(seconds)}" for kind, seconds in found.seconds.items())],
            ["  memory", f"{format_bytes(found.memory)} ({format_bytes(timing.memory)} a process); {free}"],
            [
                "  disk",
                f"{format_bytes(found.disk)} ({format_bytes(timing.model)} a model); "
                f"{format_bytes(found.disk_free)} free",
            ],
        ]
    )
    print(
        "Starting workers, loading, merging, writing models and the report come on top, and whatever else "
        "this machine does meanwhile."
    )


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        print_table([head, *rows])
    else:
        print(f"{head[0]}: none is left")


def _trainings(stages: Sequence[Trainings]) -> list[list[str]]:
    rows = []
    for stage in filter(lambda one: one.most, stages):
        models = f"{stage.most:,}" if stage.least == stage.most else f"{stage.least:,} to {stage.most:,}"
        tokens = "–" if stage.tokens is None else f"{stage.tokens:,}"
        rows.append([stage.kind, models, f"{stage.steps:,}", f"{stage.examples:,}", tokens])
    return rows


def _scored(kinds: Sequence[Scoring]) -> list[list[str]]:
    return [
        [one.kind, f"{one.models:,}", f"{one.examples:,}", f"{one.forwards:,}"] for one in kinds if one.models
    ]


def _workers(many: int) -> str:
    return "one process" if many == 1 else f"{many} workers"


def _time(found: DryRun) -> str:
    known = [seconds for seconds in found.seconds.values() if seconds is not None]
    return format_seconds(sum(known)) + (" besides trainings" if len(known) < len(found.seconds) else "")
