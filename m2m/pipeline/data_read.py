"""The table of what was read, kept with a run and shown before it begins, and what trainings see of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from m2m.mixture import Mixture
from m2m.pipeline.contamination import kept_contamination
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring import Targets
from m2m.setups.rows.inventory import Inventory, inventory_of
from m2m.support.files import write_atomically
from m2m.support.progress import Progress, say
from m2m.training import TrainRecipe
from m2m.training.shares import Exposure, exposures


def note_data(
    folder: RunFolder,
    targets: Targets,
    contents: Mapping[str, str],
    recipe: TrainRecipe,
    progress: Progress,
    experts: Sequence[Mixture] | None = None,
) -> RunFolder:
    """Write `data.json` and `contamination.json`, show the table, note what should not be overlooked in them.

    Args:
        folder: The run folder, claimed.
        targets: What the run reads.
        contents: Content hashes of its parts.
        recipe: How it trains.
        progress: Told the table, where it shows lines.
        experts: What each dataset's expert trains on; None: its dataset alone. [N]

    Returns:
        The folder with the notes.
    """
    inventory = inventory_of(targets.setup)
    write_atomically(folder.data, json.dumps(inventory.to_json(), indent=1, ensure_ascii=False) + "\n")
    say(progress, data_lines(inventory, recipe, experts))
    common = kept_contamination(folder, targets, contents, progress)
    notes = (*inventory.notes(), *(common.notes() if common is not None else ()))
    say(progress, [f"note: {note}" for note in notes])
    return replace(folder, notes=(*folder.notes, *notes))


def data_lines(
    inventory: Inventory, recipe: TrainRecipe, experts: Sequence[Mixture] | None = None
) -> list[str]:
    """Write the table of what was read, and how often experts go through it, for a terminal."""
    names = list(inventory.sizes)
    alone = [Mixture.subset(names, [name]) for name in names]
    return [*inventory.lines(), epochs_of_experts(inventory, recipe, alone if experts is None else experts)]


def epochs_of_experts(inventory: Inventory, recipe: TrainRecipe, experts: Sequence[Mixture]) -> str:
    """Say how often each dataset's expert goes through it."""
    told = [
        f"{_exposures(expert, inventory, recipe)[name].epochs:.3g} of {name}"
        for name, expert in zip(inventory.sizes, experts, strict=True)
    ]
    return f"epochs of experts, {recipe.steps} × {recipe.batch} examples each: {', '.join(told)}"


#: What the columns of `exposure_rows` are.
EXPOSURE_HEAD = ("dataset", "epochs of its expert", "share of the pick's examples", "of its tokens", "epochs")


def exposure_rows(inventory: Inventory, recipe: TrainRecipe, picked: Mixture) -> list[list[str]]:
    """Say what the experts, and the training on the picked mixture, see of each dataset.

    Args:
        inventory: What was read.
        recipe: How all were trained.
        picked: The mixture.

    Returns:
        A row of cells a dataset, under `EXPOSURE_HEAD`; "–" where the pick leaves it out.
    """
    seen = _exposures(picked, inventory, recipe)
    rows = []
    for name in picked.datasets:
        alone = _exposures(Mixture.subset(picked.datasets, [name]), inventory, recipe)[name]
        cells = ["–", "–", "–"]
        if name in seen:
            of_pick = seen[name]
            tokens = "–" if of_pick.token_share is None else f"{of_pick.token_share:.1%}"
            cells = [f"{of_pick.share:.1%}", tokens, f"{of_pick.epochs:.3g}"]
        rows.append([name, f"{alone.epochs:.3g}", *cells])
    return rows


def _exposures(mixture: Mixture, inventory: Inventory, recipe: TrainRecipe) -> dict[str, Exposure]:
    return exposures(mixture, inventory.sizes, recipe, inventory.lengths)
