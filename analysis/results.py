"""What an analysis leaves on disk: one JSON for programs, CSV tables for spreadsheets and figures.

No number is missing without its reason. Every file is written here, and here only: a number that is not
finite becomes null or an empty cell, and `undefined` (a key of the JSON, a column of a table) says why, in
the words that the analysis has for it.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from m2m.pipeline.run_folder import RunFolder
from m2m.support.csv_tables import write_frame
from m2m.support.files import write_atomically
from m2m.version import __version__

if TYPE_CHECKING:
    from analysis.trained_run import TrainedRun

#: Why a number is not there, by the name of its field or column.
Reasons = Mapping[str, str]
#: The key of a JSON, and the column of a table, that says why.
UNDEFINED = "undefined"
#: What is said of a number that no analysis has words for.
UNFORESEEN = "infinite or no number, which was not foreseen: please report it"
#: Packages whose version can change a digit.
_PACKAGES = ("numpy", "scipy", "pandas", "statsmodels", "torch")


def provenance(run: TrainedRun) -> dict[str, Any]:
    """Return what a result was made from and by what: run, configuration hash, set-up, seed, versions."""
    return {
        "run": run.folder.root.resolve().name,
        "config": run.identity,
        "setup": run.setup.version,
        "seed": run.seed,
        "versions": versions(),
    }


def run_source(root: str | Path) -> dict[str, Any]:
    """Return a run's name, configuration hash (None if not known) and seed, without opening its models."""
    folder = RunFolder(Path(root))
    made_from = folder.read_identity() if folder.identity.exists() else {}
    seed = folder.read_results().get("seed")
    return {
        "run": folder.root.resolve().name,
        "config": made_from.get("identity"),
        "training_seed": seed,
    }


def versions() -> dict[str, str]:
    """Return the version of each package that can change a digit; tables are studied without torch."""
    found = {"m2m": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def write_results(
    folder: Path,
    name: str,
    content: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    reasons: Reasons = MappingProxyType({}),
) -> None:
    """Write `NAME.json` and `NAME_TABLE.csv` (`NAME.csv` for ""), each in one step, the JSON last."""
    text = json.dumps(explained(content, reasons), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for table, frame in tables.items():
        path = folder / f"{name}{'_' if table else ''}{table}.csv"
        write_frame(path, explained_table(frame, reasons))
    write_atomically(folder / f"{name}.json", text)


def explained(content: Mapping[str, Any], reasons: Reasons = MappingProxyType({})) -> dict[str, Any]:
    """Return content as from `plain`, with `undefined`: a reason a field that has no finite number.

    A field that is None lacks something only if `reasons` knows it. What stands beside a `reason` of its own
    has one already.
    """
    missing = dict.fromkeys(_missing("", content, reasons))
    said = {UNDEFINED: {name: reasons.get(name, UNFORESEEN) for name in missing}} if missing else {}
    return {**plain(content), **said}


def _missing(name: str, value: Any, reasons: Reasons) -> Iterator[str]:
    """Yield the names of the fields that lack a number."""
    if isinstance(value, Mapping):
        if not value.get("reason"):
            for key, item in value.items():
                # What a field holds by its keys (a number a horizon, say) is explained by the field.
                known = str(key) in reasons or name not in reasons
                yield from _missing(str(key) if known else name, item, reasons)
    elif isinstance(value, np.ndarray):
        yield from _missing(name, value.tolist(), reasons)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _missing(name, item, reasons)
    elif (isinstance(value, float) and not math.isfinite(value)) or (value is None and name in reasons):
        yield name


def explained_table(frame: pd.DataFrame, reasons: Reasons = MappingProxyType({})) -> pd.DataFrame:
    """Return a table for CSV: infinite numbers as empty cells, a column `undefined` with the reasons.

    The column is there if `reasons` knows one of the table's columns or a number is not finite. A row with a
    `reason` of its own has one already.
    """
    gone = pd.DataFrame({name: _gone(frame[name], name in reasons) for name in frame.columns})
    if "reason" in frame.columns:
        gone = gone.mul(frame["reason"].fillna("") == "", axis=0)
    if not (gone.to_numpy().any() or set(reasons) & set(frame.columns)):
        return frame
    words = [
        "; ".join(f"{name}: {reasons.get(name, UNFORESEEN)}" for name in frame.columns[row])
        for row in gone.to_numpy(dtype=bool)
    ]
    finite = frame.replace([np.inf, -np.inf], np.nan)
    return finite.assign(**{UNDEFINED: words})


def _gone(column: pd.Series[Any], known: bool) -> pd.Series[Any]:
    # An empty cell among words or truths lacks something only if it is known to.
    if pd.api.types.is_float_dtype(column):
        return pd.Series(~np.isfinite(column.to_numpy()), column.index)
    return column.isna() if known else pd.Series(False, column.index)


def plain(value: Any) -> Any:
    """Turn nested mappings, sequences, arrays and scalars into what JSON has; None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
