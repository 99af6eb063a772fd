"""The table of what was read, kept with a run, and shown before it begins."""

from __future__ import annotations

import json
from dataclasses import replace

from m2m.pipeline.run_folder import RunFolder
from m2m.setups.protocol import Setup
from m2m.setups.rows.inventory import inventory_of
from m2m.support.files import write_atomically
from m2m.support.progress import Progress, say


def note_data(folder: RunFolder, setup: Setup, progress: Progress) -> RunFolder:
    """Write `data.json`, show its table, and note what should not be overlooked in it.

    Args:
        folder: The run folder, claimed.
        setup: What the run reads.
        progress: Told the table, where it shows lines.

    Returns:
        The folder with the notes.
    """
    inventory = inventory_of(setup)
    write_atomically(folder.data, json.dumps(inventory.to_json(), indent=1, ensure_ascii=False) + "\n")
    notes = tuple(inventory.notes())
    say(progress, [*inventory.lines(), *(f"note: {note}" for note in notes)])
    return replace(folder, notes=(*folder.notes, *notes))
