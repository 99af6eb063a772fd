"""A run that gets one dataset more: its folder goes on where all else is what it was, and keeps what it has.

Experts, trained mixtures and scores are told by what they are made from, so they stand; only the version of
the whole set-up changes with the dataset. So it is checked that the version that the folder noted is that of
this set-up without the dataset, and that the base model is still the one in the folder.
"""

from __future__ import annotations

import torch

from m2m.checkpoint import verified_state
from m2m.data import cache_dir
from m2m.errors import RunFolderError
from m2m.pipeline.config import RunConfig
from m2m.pipeline.run_folder import Growth, RunFolder, dataset_added, to_train_on, what_changed
from m2m.pipeline.steps import load_setup
from m2m.scoring import Targets
from m2m.setups.protocol import Setup
from m2m.support.progress import Progress


def growth(
    folder: RunFolder, config: RunConfig, targets: Targets, progress: Progress | None = None
) -> Growth | None:
    """Say by which dataset a run has grown.

    Args:
        folder: The run folder; nothing is touched.
        config: The configuration that is to be run in it.
        targets: Its set-up and targets.
        progress: Called with (done, total, step).

    Returns:
        The growth; None if the folder is new, or of this very configuration.

    Raises:
        RunFolderError: If anything else is not what it was.
    """
    added = dataset_added(folder, config)
    if added is None:
        return None
    before = load_setup(config.without_dataset(added), progress).contents
    folder.check_contents(before)
    kept = {part: key for part, key in targets.contents.items() if part != f"dataset {added}"}
    changed = what_changed(before, kept | {"version": before["version"]})
    if not changed and folder.base.exists():
        changed = "" if _same_base(folder, targets.setup, progress) else "its base model has changed"
    if changed:
        raise RunFolderError(
            f"{folder.root}: with the dataset {added!r} {changed}, and its scores must not be of two things; "
            "it is left as it is: give the new run a folder of its own"
        )
    results = folder.read_results()
    return Growth(added, before, to_train_on(results) if results else None)


def _same_base(folder: RunFolder, setup: Setup, progress: Progress | None) -> bool:
    state, there = setup.base_state(cache_dir(), progress), verified_state(folder.base)
    return state.keys() == there.keys() and all(torch.equal(state[name], there[name]) for name in state)
