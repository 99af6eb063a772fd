"""What a run would do and take: counted, and estimated from a timed step and a timed forward."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m2m.pipeline.config import RunConfig
from m2m.pipeline.contamination import measured_contamination
from m2m.pipeline.data_read import data_lines
from m2m.pipeline.growth import growth
from m2m.pipeline.merge_to_mix import checked_targets
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.timing import Timing, folder_bytes, measure
from m2m.pipeline.workload import Workload, wall, workload
from m2m.scoring import Targets
from m2m.scoring.live.device import open_device
from m2m.setups.rows.inventory import inventory_of
from m2m.support.progress import Progress, nobody, say
from m2m.support.units import format_bytes


@dataclass(frozen=True)
class DryRun:
    """What a run would do and take; a run that was begun: what is left of it.

    Attributes:
        config: The configuration.
        out: The run folder; None if it was not named.
        workload: Trainings and scored models, counted.
        timing: What was measured of one step and one forward.
        workers: Worker processes that the run would have.
        seconds: Estimated seconds, at most: `trainings` (None with a trainer of the user's own), `merged`
            candidates, and `others` that are scored. Starting workers, loading, merging, writing and the
            report are not in them.
        memory: Estimated bytes of all processes together while they train, at most.
        disk: Estimated bytes of the models that the run writes, at most.
        disk_free: Bytes that are free where it would write.
        notes: What its user should be told.
    """

    config: Path
    out: Path | None
    workload: Workload
    timing: Timing
    workers: int
    seconds: Mapping[str, float | None]
    memory: int
    disk: int
    disk_free: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Lay it out for programs."""
        return asdict(self)


def estimate(
    config: RunConfig, folder: RunFolder | None, workers: int, device: str, progress: Progress | None
) -> DryRun:
    """Load the set-up, make a run's checks, and count and time what it would do.

    Args:
        config: The run configuration.
        folder: The run folder; None: a new one, on the disk of the current folder.
        workers: Local worker processes.
        device: Where candidates would be scored.
        progress: Called with (done, total, step); shown the table of what was read.

    Returns:
        The counts and estimates.
    """
    tell, place = progress or nobody, open_device(device)
    targets = checked_targets(config, folder, progress)
    _check_folder(folder, config, targets, tell)
    inventory = inventory_of(targets.setup)
    say(tell, data_lines(inventory, config.train))
    work, timing = workload(config, targets, folder), measure(config, targets, place, tell)
    side_by_side = 1 if timing.on_gpu else workers
    busy = max(1, min(side_by_side, max((stage.most for stage in work.trainings), default=1)))
    memory = timing.memory * (busy + 1 if busy > 1 else 1)  # who waits for workers has the data too
    disk, free = _disk(work, timing, config, folder), _free(Path() if folder is None else folder.root)
    common = measured_contamination(targets, tell)
    found_in_common = common.notes() if common is not None else ()
    notes = (*inventory.notes(), *found_in_common, *_notes(config, work, timing, memory, disk, free))
    seconds = _seconds(work, timing, workers, side_by_side)
    root = None if folder is None else folder.root
    return DryRun(config.path, root, work, timing, workers, seconds, memory, disk, free, notes)


def _check_folder(folder: RunFolder | None, config: RunConfig, targets: Targets, progress: Progress) -> None:
    """Refuse a run folder of other data, as `claiming.claim` does."""
    if folder is None or not folder.identity.exists():
        return
    if growth(folder, config, targets, progress) is None:
        folder.check_contents(targets.contents)


def _seconds(work: Workload, timing: Timing, workers: int, trainers: int) -> dict[str, float | None]:
    trainings = None
    if timing.step is not None:
        trainings = timing.step * sum(
            wall(stage.steps, stage.longest, stage.most, trainers) for stage in work.trainings
        )
    merging = 1 if work.searches else workers
    walks = {
        "merged": wall(work.merged.forwards, work.merged.examples, work.merged.models, merging),
        # Workers that train score what they trained.
        "others": wall(work.trained.forwards, work.trained.examples, work.trained.models, trainers)
        + work.tested.forwards
        + work.embedded.forwards,
    }
    return {"trainings": trainings} | {kind: timing.example * walked for kind, walked in walks.items()}


def _disk(work: Workload, timing: Timing, config: RunConfig, folder: RunFolder | None) -> int:
    experts = sum(stage.most for stage in work.trainings if stage.kind == "experts")
    base = 0 if folder is not None and folder.base.exists() else timing.base
    given = sum(map(folder_bytes, config.experts.values())) if work.given else 0
    return base + given + experts * timing.expert + (work.most_trainings - experts) * timing.model


def _free(place: Path) -> int:
    there = Path(os.path.abspath(place))
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def _notes(config: RunConfig, work: Workload, timing: Timing, memory: int, disk: int, free: int) -> list[str]:
    said = []
    if not timing.pretrained:
        said.append("the base model is pretrained first, once, which is not in these seconds")
    if config.trainer.command:
        said.append("your own trainer was not run: its seconds and memory are not known, models count whole")
    if memory > timing.free:
        said.append(
            f"{format_bytes(memory)} of memory may be needed and {format_bytes(timing.free)} are free: fewer "
            "workers, or a smaller train.micro_batch"
        )
    if disk > free:
        said.append(f"{format_bytes(disk)} of disk may be needed and {format_bytes(free)} are free")
    if work.given and config.run.has_baselines and not config.run.trains_all:
        said.append(
            "experts are given, and mixtures are trained all the same: the pick, and what it is compared "
            "with; [run] baselines = false trains the pick alone"
        )
    return said
