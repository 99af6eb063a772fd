"""Who may write in a run folder: whether it is this configuration's, and one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from m2m.errors import M2MError, RunFolderError
from m2m.pipeline.config import RunConfig, load
from m2m.pipeline.run_folder import OF_OTHER_DATA, Growth, RunFolder, dataset_added
from m2m.scoring.table import ScoreTable
from m2m.support.arguments import argument
from m2m.support.files import naming, write_atomically
from m2m.support.outputs import Output, check_outputs
from m2m.support.schema import flat

#: Keys that a message about another configuration tells.
_TOLD = 3


def check(root: Path, config: RunConfig, *, growing: bool = False) -> None:
    """Refuse a folder that a run of this configuration may not use; nothing is touched.

    Args:
        root: The folder.
        config: The configuration.
        growing: Whether the folder may also be of this configuration with a dataset less.

    Raises:
        RunFolderError: If it may not.
    """
    said, folder = argument("out", root), RunFolder(root)
    files = (
        folder.config, folder.identity, folder.csv, folder.data, folder.contamination, folder.validation,
        folder.results, folder.report, folder.embeddings,
    )  # fmt: skip
    check_outputs(
        [
            Output(said, root, "folder"),
            *(Output(said, path, "folder", own=True) for path in (folder.figures, folder.mix)),
            *(Output(said, path, own=True) for path in files if path.exists()),
            *(Output(said, path, "table", own=True) for path in [folder.table] if path.exists()),
        ]
    )
    for path in files:
        if data := config.gathers(path):
            raise RunFolderError(
                f"{said} lies in data that {config.path} reads, {data}: what the run writes would be taken "
                "for data; choose a place outside"
            )
    if not root.exists() or all(entry.name.startswith(".") for entry in root.iterdir()):
        return  # new, empty, or claimed by a run that was killed before its first file
    identity = folder.identity
    if not identity.exists():
        raise RunFolderError(
            f"{said} is not empty and not a run folder (no {identity.name}); it is left as it is"
        )
    if growing and dataset_added(folder, config) is not None:
        return
    if folder.read_identity()["identity"] != config.identity:
        raise RunFolderError(
            f"{said} holds a run of another configuration ({_what_differs(folder.config, config)}); "
            f"give {config.path.name} a folder of its own; this one is left as it is"
        )


def _what_differs(before: Path, config: RunConfig) -> str:
    """Name the first keys that decide results and are not as they were."""
    see = f"see {before}"
    try:
        was, now = (dict(flat(one.deciding)) for one in (load(before), config))
    except M2MError:  # another version wrote it
        return see
    keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    told = [f"{key} is {now.get(key)!r:.40}, was {was.get(key)!r:.40}" for key in keys[:_TOLD]]
    more = [f"{len(keys) - _TOLD} keys more"] if len(keys) > _TOLD else []
    return "; ".join([*told, *more, see])


@contextmanager
def claim(
    root: Path, config: RunConfig, contents: Mapping[str, str], grown: Growth | None = None
) -> Iterator[RunFolder]:
    """Open a run folder for writing, made if need be, for one process at a time; say if it has `grown`."""
    check(root, config, growing=grown is not None)
    # A link may lead to a folder that is not there yet.
    Path(os.path.realpath(root)).mkdir(parents=True, exist_ok=True)
    folder = RunFolder(root)
    with open(root / ".lock", "w", encoding="utf-8") as lock:
        try:
            with naming(root):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(f"{argument('out', root)} is in use by another process") from None
        known = folder.identity.exists()
        if known and not folder.contents:
            folder = _of_an_earlier_m2m(folder, contents["version"])
        elif known:
            folder.check_contents(contents if grown is None else grown.before)
        grew = folder.grew
        if grown is not None:
            version = grown.before["version"]
            grew = [*grew, {"dataset": grown.dataset, "version": version, "picked": grown.picked}]
        noted = folder.origins_noted if known else True
        write_atomically(folder.config, config.path.read_text(encoding="utf-8"))
        source: dict[str, Any] = {"identity": config.identity, "root": str(config.root)}
        source |= {"contents": dict(contents), "origins_noted": noted}
        source |= {"grew": grew} if grew else {}
        write_atomically(folder.identity, json.dumps(source, ensure_ascii=False) + "\n")
        folder.figures.mkdir(exist_ok=True)
        yield folder


def _of_an_earlier_m2m(folder: RunFolder, version: str) -> RunFolder:
    # It noted no contents, but its scores have the version of the set-up they were made with.
    for path in filter(Path.exists, (folder.table, folder.mix / folder.table.name)):
        with ScoreTable(path) as table:
            versions = table.versions()
        if versions and version not in versions:
            raise RunFolderError(OF_OTHER_DATA.format(folder.root, "its data or its base model have changed"))
    note = (
        "is of an earlier m2m, which did not note what its models were trained on; the run goes on with them"
    )
    return replace(folder, notes=(f"{folder.root} {note}",))
