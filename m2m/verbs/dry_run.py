"""`m2m run --dry-run`: what a run would do and take, with every check made and nothing trained or written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.pipeline import claiming
from m2m.pipeline.config import RunConfig
from m2m.pipeline.first_look import look_at
from m2m.pipeline.run_folder import RunFolder
from m2m.support.checked import Positive, checked
from m2m.support.progress import Progress
from m2m.verbs.run import loaded, with_options

if TYPE_CHECKING:
    from m2m.verbs.estimate import DryRun


@checked()
def dry_run(
    config: RunConfig | str | Path,
    out: str | Path | None = None,
    *,
    budget: Positive | None = None,
    validate: bool | Positive | None = None,
    until: str | None = None,
    workers: Positive | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> DryRun:
    """Say what `m2m.run` with these arguments would do and take, without doing it.

    The set-up is loaded and everything is checked that a run checks before its first training; two training
    steps and two batches of scoring are done on the base model, and their second ones timed. No model is
    kept and no run folder made; the data cache gets what a run would put there.

    Args:
        config: The run configuration, or its TOML file.
        out: The run folder: what it holds already is not counted, and the disk it is on is asked. None: a
            new one, on the disk of the current folder.
        budget: As for `m2m.run`; so are the following.
        validate: Whether every subset would be trained, or how many.
        until: What would stop those trainings.
        workers: Local worker processes; None: one a core.
        device: Where candidates would be scored.
        progress: Called with (done, total, step); shown the table of what was read.

    Returns:
        The counts and estimates.

    Raises:
        ConfigError: If the configuration or its set-up is mistaken.
        RunFolderError: If `out` holds anything but a run of this configuration and these data.
    """  # noqa: DOC502 - raised by what is called
    folder = None if out is None else RunFolder(Path(out))
    wanted = with_options(loaded(config), budget, validate, until)
    if folder is not None:
        claiming.check(folder.root, wanted, growing=True)
    look_at(wanted, folder)

    from m2m.verbs.estimate import estimate  # torch, which a slip need not wait for

    return estimate(wanted, folder, workers or os.cpu_count() or 1, device, progress)
