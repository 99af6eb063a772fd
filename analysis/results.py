"""What an analysis leaves on disk: one JSON for programs, CSV tables for spreadsheets and figures."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import m2m
from m2m.errors import InputError
from m2m.files import write_atomically
from m2m.run_folder import RunFolder

if TYPE_CHECKING:
    from analysis.trained_run import TrainedRun

#: Packages whose version can change a digit.
_PACKAGES = ("numpy", "scipy", "pandas", "statsmodels", "torch")


def provenance(run: TrainedRun) -> dict[str, Any]:
    """Say what a result was made from, and by what.

    Args:
        run: The run it is about.

    Returns:
        Run, configuration hash, set-up, seed and versions.
    """
    return {
        "run": run.folder.root.resolve().name,
        "config": run.identity,
        "setup": run.setup.version,
        "seed": run.seed,
        "versions": versions(),
    }


def run_source(root: str | Path) -> dict[str, Any]:
    """Say which run a result is of, without opening its models.

    Args:
        root: The run folder of a finished run.

    Returns:
        Its name, the hash of its configuration (None if the folder does not say) and its training seed.
    """
    folder = RunFolder(Path(root))
    made_from = folder.read_identity() if folder.identity.exists() else {}
    seed = folder.read_results().get("seed")
    return {
        "run": folder.root.resolve().name,
        "config": made_from.get("identity"),
        "training_seed": seed,
    }


def versions() -> dict[str, str]:
    """Say with what a result was made.

    Returns:
        Version by package.
    """
    ours = {"m2m": m2m.__version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in _PACKAGES}


def output_folder(path: Path) -> Path:
    """Check where results are to go, before any work is done; nothing is made yet.

    Args:
        path: The folder.

    Returns:
        The folder.

    Raises:
        InputError: If it is something else than a folder.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"--out {path} is a file; wanted a folder")
    return path


def write_results(
    folder: Path, name: str, content: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> None:
    """Write `NAME.json` and `NAME_TABLE.csv` files, each in one step, the JSON last.

    Args:
        folder: Where to; made if need be.
        name: The analysis.
        content: What goes into the JSON; numbers that are not finite become null.
        tables: Table name to table; an empty name gives `NAME.csv`.
    """
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for table, frame in tables.items():
        path = folder / f"{name}{'_' if table else ''}{table}.csv"
        write_atomically(path, frame.to_csv(index=False))
    write_atomically(folder / f"{name}.json", text)


def plain(value: Any) -> Any:
    """Turn a value into what JSON has.

    Args:
        value: Mappings, sequences, arrays and scalars, nested.

    Returns:
        The same as dictionaries, lists and Python scalars; None for numbers that are not finite.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
