"""Where the datasets of a run lie, as a trainer is told: whole files, and what is in the way of others."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path
from types import NoneType
from typing import Any

from m2m.exporting import Sources
from m2m.exporting.local_files import builder_of
from m2m.pipeline.run_folder import RunFolder
from m2m.support.arguments import argument
from m2m.support.doors import read_json, read_toml

#: Formats that say where each dataset lies, so that a trainer loads it.
LOADING = ("interleave", "llama-factory-info", "axolotl", "trl")
#: Keys of a dataset that take a part of its files.
_PARTS = ("share", "where", "limit")
_COUNT = (NoneType, int)
_READ = {"read": [{"kind": str, "name": str, "documents": _COUNT, "repeats": _COUNT, "blanks": _COUNT}]}
_TXT = (
    "%s: trainers take each line of %s for a row, and here the file was one document: make it JSON Lines and "
    "say %s, to train on what was chosen"
)

_log = logging.getLogger(__name__)


def with_run_s(sources: Sources, folder: Path, members: Sequence[str], to: str) -> Sources:
    """Add what a run knows of its datasets, and warn of those that have no one file that a trainer loads.

    Args:
        sources: What was said; it counts before the run's own.
        folder: A folder of `m2m run`, or of `m2m mix`, perhaps in one.
        members: The datasets that are written.
        to: The trainer's format.

    Returns:
        With the paths of datasets that are one whole file each, and how many rows these have.
    """
    run = next((RunFolder(place) for place in (folder, folder.parent) if _is_run(RunFolder(place))), None)
    if run is None:
        return sources
    setup = read_toml(run.config, "a run's configuration", shape={"setup": dict})["setup"]
    tables = setup.get("datasets", {}) if setup.get("kind") == "language" else {}
    held_out = {table.get("dataset") for table in setup.get("targets", {}).values()}
    rows = {name: count for name, count in _rows(run).items() if name not in held_out}
    paths, root = dict(sources.paths), run.read_identity()["root"]
    sizes = dict(sources.sizes)
    for name in members:
        if name not in tables or name in paths:
            continue
        files = _files(tables[name], root)
        parts = [key for key in _PARTS if key in tables[name]]
        if len(files) == 1 and not parts:
            paths[name] = files[0]
            if name in rows:
                sizes.setdefault(name, rows[name])
            if to in LOADING and builder_of(files[0]) == "text":
                _log.warning(_TXT, name, files[0], argument("path", f"{name}=FILE.jsonl"))
        elif to in LOADING:
            what = f"{len(files)} files" if len(files) != 1 else f"a part of {files[0]} ({', '.join(parts)})"
            _log.warning(
                "%s: is %s, and %s loads one file whole: make one of it and say %s; its name stands there",
                name, what, to, argument("path", f"{name}=FILE"),
            )  # fmt: skip
    return replace(sources, paths=paths, sizes=sizes)


def _is_run(run: RunFolder) -> bool:
    return run.identity.is_file() and run.config.is_file()


def _files(table: Mapping[str, Any], root: str) -> list[str]:
    said = table.get("files", ())
    patterns = [said] if isinstance(said, str) else said
    found = sorted(
        {path for pattern in patterns for path in glob(os.path.join(root, pattern), recursive=True)}
    )
    return [os.path.abspath(path) for path in found if os.path.isfile(path)]


def _rows(run: RunFolder) -> dict[str, int]:
    """Count what the whole files of datasets hold, by the run's note of what it read."""
    if not run.data.is_file():
        return {}
    read = read_json(run.data, "what a run read", shape=_READ)["read"]
    counts = {
        one["name"]: (one["documents"], one["repeats"], one["blanks"])
        for one in read
        if one["kind"] == "dataset"
    }
    return {name: sum(three) for name, three in counts.items() if None not in three}
