"""One run folder: where everything lies, who may write there, and whether it is this configuration's."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from m2m.doors import read_json
from m2m.errors import RunFolderError
from m2m.files import write_atomically
from m2m.mixture import Mixture
from m2m.outputs import RUN_MARK, Output, check_outputs
from m2m.shapes import PERHAPS

if TYPE_CHECKING:
    from m2m.config import RunConfig

#: What `run.json` says.
_IDENTITY = {"identity": str, "root": str}
_ESTIMATE = {"value": PERHAPS, "low": PERHAPS, "high": PERHAPS, "n": int, "reason?": (NoneType, str)}
_FIDELITY = {
    "pearson": _ESTIMATE | {"intervals?": {str: {"low?": PERHAPS, "high?": PERHAPS}}},
    "spearman": _ESTIMATE,
    "without_singletons?": {"pearson?": _ESTIMATE},
    "ceiling?": {"pearson?": {"value": PERHAPS, "low": PERHAPS, "high": PERHAPS, "attainable?": PERHAPS}},
    "regret?": PERHAPS,
    "regret_of_random?": PERHAPS,
    "rank?": (NoneType, int),
    "candidates?": int,
}
#: What programs take out of `results.json`, where it is there.
_RESULTS = {
    "target": str,
    "metric": str,
    "higher_is_better": bool,
    "datasets": [str],
    "picked": [str],
    "all": [str],
    "similarity": [str],
    "random": [str],
    "oracle": (NoneType, [str]),
    "test": {"picked": float, str: PERHAPS},
    "validation": {str: PERHAPS},
    "fidelity": {str: _FIDELITY},
    "seconds": {str: float},
    "recipe": dict,
    "seed": int,
    "m2m": str,
}


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def config(self) -> Path:
        """The configuration as it was given, frozen."""
        return self.root / "config.toml"

    @property
    def identity(self) -> Path:
        """What the folder was made from; its presence marks a folder as a run."""
        return self.root / RUN_MARK

    @property
    def base(self) -> Path:
        """Checkpoint of the base model θ₀."""
        return self.root / "base"

    @property
    def table(self) -> Path:
        """The table of scores (SQLite)."""
        return self.root / "scores.sqlite"

    @property
    def csv(self) -> Path:
        """The same table for people and spreadsheets."""
        return self.root / "scores.csv"

    @property
    def results(self) -> Path:
        """The outcome (JSON)."""
        return self.root / "results.json"

    @property
    def report(self) -> Path:
        """The outcome as a page (HTML)."""
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        """Folder of the figures and the points they are drawn from."""
        return self.root / "figures"

    @property
    def mix(self) -> Path:
        """Folder of what `m2m mix` finds."""
        return self.root / "mix"

    def model(self, mixture: Mixture, seed: int) -> Path:
        """Say where the checkpoint of a trained mixture lies; a mixture of one dataset is an expert.

        Args:
            mixture: What it is trained on.
            seed: Its training seed.

        Returns:
            The checkpoint folder.
        """
        room = "experts" if mixture.is_subset and len(mixture.members) == 1 else "mixtures"
        return self.root / room / mixture.folder_name / f"seed{seed}"

    def read_results(self, *needed: str) -> dict[str, Any]:
        """Read `results.json`.

        Args:
            *needed: Keys that it must have, if it is there at all.

        Returns:
            Its content; empty before the run has finished.
        """
        if not self.results.exists():
            return {}
        shape = {name if name in needed else f"{name}?": inner for name, inner in _RESULTS.items()}
        content: dict[str, Any] = read_json(self.results, "a run's results", RunFolderError, shape)
        return content

    def read_identity(self) -> dict[str, str]:
        """Read `run.json`.

        Returns:
            `identity`, the hash of the configuration that the run was made from, and `root`, the folder that
            its relative paths start from.
        """
        content: dict[str, str] = read_json(
            self.identity, "what a run writes there", RunFolderError, _IDENTITY
        )
        return content

    def write_results(self, content: dict[str, Any]) -> None:
        """Replace `results.json` in one step.

        Args:
            content: The whole new content.
        """
        write_atomically(
            self.results, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        )


def check(root: Path, config: RunConfig) -> None:
    """Make sure that a run of this configuration may use a folder; nothing is touched.

    Args:
        root: The folder; it may not exist yet.
        config: The configuration that wants it.

    Raises:
        RunFolderError: If it cannot be written, or holds something else or another configuration's run.
    """
    said, folder = f"--out {root}", RunFolder(root)
    files = (folder.config, folder.identity, folder.csv, folder.results, folder.report)
    check_outputs(
        [
            Output(said, root, "folder"),
            *(Output(said, path, "folder", own=True) for path in (folder.figures, folder.mix)),
            *(Output(said, path, own=True) for path in files if path.exists()),
            *(Output(said, path, "table", own=True) for path in [folder.table] if path.exists()),
        ]
    )
    if not root.exists() or all(entry.name.startswith(".") for entry in root.iterdir()):
        return  # new, empty, or claimed by a run that was killed before its first file
    identity = RunFolder(root).identity
    if not identity.exists():
        raise RunFolderError(
            f"--out {root} is not empty and not a run folder (no {identity.name}); it is left as it is"
        )
    if RunFolder(root).read_identity()["identity"] != config.identity:
        raise RunFolderError(
            f"--out {root} holds a run of another configuration (see {RunFolder(root).config}); "
            f"give {config.path.name} a folder of its own; this one is left as it is"
        )


@contextmanager
def claim(root: Path, config: RunConfig) -> Iterator[RunFolder]:
    """Open a run folder for writing, made if need be, for one process at a time.

    Args:
        root: The folder.
        config: The configuration that wants it.

    Yields:
        RunFolder: The folder, locked until the block ends.

    Raises:
        RunFolderError: As `check`, or if another process is using the folder.
    """
    check(root, config)
    # A link may lead to a folder that is not there yet.
    Path(os.path.realpath(root)).mkdir(parents=True, exist_ok=True)
    folder = RunFolder(root)
    with open(root / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFolderError(f"--out {root} is in use by another process") from None
        write_atomically(folder.config, config.path.read_text(encoding="utf-8"))
        write_atomically(
            folder.identity, json.dumps({"identity": config.identity, "root": str(config.root)}) + "\n"
        )
        folder.figures.mkdir(exist_ok=True)
        yield folder
