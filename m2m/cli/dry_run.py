"""What `m2m run --dry-run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.cli.output import print_table
from m2m.support.units import format_bytes

if TYPE_CHECKING:
    from m2m.pipeline.workload import Trainings
    from m2m.verbs.dry_run import DryRun


def tell(found: DryRun) -> None:
    """Print counts first, then estimates."""
    work, timing = found.workload, found.timing
    there = f" ({found.out} has {work.there} trained models)" if work.there else ""
    print(f"A run of {found.config.name} would do this; nothing was kept{there}.\n")
    print_table(
        [
            ["trainings", "models", "steps", "examples", "tokens"],
            *(_row(stage) for stage in work.trainings if stage.most),
        ]
    )
    if work.given:
        print(f"{work.given} experts exist already, and are taken")
    print()
    scorings = (work.merged, work.trained, work.tested, work.embedded)
    print_table(
        [
            ["scored", "at most", "on examples each", "forwards"],
            *(
                [one.kind, f"{one.models:,}", f"{one.examples:,}", f"{one.forwards:,}"]
                for one in scorings
                if one.models
            ),
        ]
    )
    print(f"\nestimated from one timed step and one timed forward, with {_workers(found.workers)}:")
    step = "" if timing.step is None else f"{timing.step:.3g} s a training step, "
    free = f"{format_bytes(timing.free)} free"
    print_table(
        [
            ["  time", f"at most {_time(found)} ({step}{timing.example:.3g} s an example that is scored)"],
            ["", "; ".join(f"{kind} {_span(seconds)}" for kind, seconds in found.seconds.items())],
            ["  memory", f"{format_bytes(found.memory)} ({format_bytes(timing.memory)} a worker); {free}"],
            [
                "  disk",
                f"{format_bytes(found.disk)} ({format_bytes(timing.model)} a model); "
                f"{format_bytes(found.disk_free)} free",
            ],
        ]
    )
    print("Starting workers, loading, merging, writing models and the report come on top.")


def _row(stage: Trainings) -> list[str]:
    models = f"{stage.most:,}" if stage.least == stage.most else f"{stage.least:,} to {stage.most:,}"
    tokens = "–" if stage.tokens is None else f"{stage.tokens:,}"
    return [stage.kind, models, f"{stage.steps:,}", f"{stage.examples:,}", tokens]


def _workers(many: int) -> str:
    return "one process" if many == 1 else f"{many} workers"


def _time(found: DryRun) -> str:
    known = [seconds for seconds in found.seconds.values() if seconds is not None]
    return _span(sum(known)) + (" besides trainings" if len(known) < len(found.seconds) else "")


def _span(seconds: float | None) -> str:
    """Write a time for people, in two of its units at most."""
    if seconds is None:
        return "not known"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
