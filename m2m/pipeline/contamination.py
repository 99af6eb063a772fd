"""What a run's targets and datasets have in common, measured once and kept in the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from m2m.pipeline.run_folder import RunFolder
from m2m.scoring import Targets
from m2m.setups.rows.contamination import Contamination, contamination_of
from m2m.setups.rows.items import Item
from m2m.setups.rows.overlap import Judged
from m2m.support.content_keys import content_key
from m2m.support.files import write_atomically
from m2m.support.progress import Progress

#: Changes when the same documents would give other counts.
REVISION = 1


def measured_contamination(targets: Targets, progress: Progress) -> Contamination | None:
    """Measure what the targets and datasets of a run have in common; None where no text of them is known."""
    told: Mapping[tuple[str, str], Callable[[], Sequence[Item]]] = getattr(targets.setup, "compared", {})
    datasets = {name: read for (name, split), read in told.items() if split == "train"}
    if not datasets:
        return None
    splits = [Judged(name, split, read()) for (name, split), read in told.items() if split != "train"]
    for name, target in targets.judged.items():
        splits += [Judged(name, split, items) for split, items in target.items.items() if items]
    return contamination_of(datasets, splits, progress)


def kept_contamination(
    folder: RunFolder, targets: Targets, contents: Mapping[str, str], progress: Progress
) -> Contamination | None:
    """Take what the folder has noted of these contents, or measure it and note it there.

    Args:
        folder: The run folder, claimed.
        targets: The set-up and targets.
        contents: Content hashes of their parts.
        progress: Told how far the work is.

    Returns:
        What was found; None where no text is known.
    """
    key = content_key("contamination", REVISION, [part for pair in sorted(contents.items()) for part in pair])
    kept = folder.read_contamination()
    if kept is not None and kept[0] == key:
        return kept[1]
    found = measured_contamination(targets, progress)
    if found is not None:
        text = json.dumps({"made_from": key, **found.to_json()}, indent=1, ensure_ascii=False)
        write_atomically(folder.contamination, f"{text}\n")
    return found
