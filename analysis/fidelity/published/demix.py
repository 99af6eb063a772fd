"""DeMix (arXiv 2602.00747): sampled mixtures as JSON, and evaluations of merged and trained models.

Its repository keeps OpenCompass's output of mixture i below a folder `mix_i` (merged) or `MODEL_MIX_i_…`
(trained), and looks into `compass_outputs/TIME/summary/*.csv`: columns dataset, version, metric, mode, model.
"""

from __future__ import annotations

import re
from pathlib import Path

from analysis.fidelity.published.paired import mixtures_of, paired
from analysis.fidelity.scores import Points
from m2m.errors import InputError
from m2m.support.csv_tables import number, read_rows
from m2m.support.doors import read_json

_FOLDER = re.compile(r"(?:.*_)?mix_([0-9]+)(?:_.*)?", re.IGNORECASE)
_COLUMNS = ("dataset", "version", "metric", "mode")
#: What OpenCompass writes where there is no score.
_NONE = "-"


def read(source: Path, merged: str | None, trained: str | None, lower_is_better: bool) -> list[Points]:
    """Read DeMix's mixtures and evaluations.

    Args:
        source: The mixtures: `{"mix_0": {"general": 0.5, "math": 0.5}, …}`.
        merged: Folder of the merged models' evaluations, a folder a mixture.
        trained: Folder of the really trained reference models' evaluations.
        lower_is_better: Whether scores are losses; OpenCompass's are percentages.

    Returns:
        A target a benchmark.

    Raises:
        InputError: If a file is not what it should be, or sides do not go together.
    """  # noqa: DOC502 - partly raised by what is called
    raw = read_json(source, "DeMix's sampled mixtures", shape={str: {str: float}})
    mixtures = mixtures_of(str(source), raw)
    sides = [_evaluated(Path(str(folder))) for folder in (merged, trained)]
    return paired(str(source), mixtures, *sides, higher_is_better=not lower_is_better)


def _evaluated(root: Path) -> dict[str, dict[str, float]]:
    """Read the scores of every mixture below a folder."""
    if not root.is_dir():
        raise InputError(f"{root} is no folder of evaluations; wanted one with a folder a mixture, mix_0, …")
    found: dict[str, dict[str, float]] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        matched = _FOLDER.fullmatch(folder.name)
        if matched is None:
            continue
        name = f"mix_{matched[1]}"
        if name in found:
            raise InputError(f"{root}: two folders are of {name}, such as {folder.name}; wanted one")
        found[name] = _scores(_newest(folder))
    if not found:
        raise InputError(f"{root} has no folder of a mixture; wanted mix_0, MODEL_MIX_0_…, and so on")
    return found


def _newest(folder: Path) -> Path:
    """Return the last summary of one model; its name and its folder's are times."""
    outputs = sorted(folder.rglob("compass_outputs"))
    if len(outputs) != 1:
        few = "none" if not outputs else f"{len(outputs)}, such as {outputs[-1].relative_to(folder)}"
        raise InputError(f"{folder}: wanted one compass_outputs, that of one checkpoint, got {few}")
    tables = sorted(outputs[0].glob("*/summary/*.csv"))
    if not tables:
        raise InputError(f"{outputs[0]} has no */summary/*.csv: OpenCompass has not finished there")
    return tables[-1]


def _scores(path: Path) -> dict[str, float]:
    """Read one model's scores by dataset, with the metric's name where a dataset has several."""
    rows = [(line, cells) for line, cells in read_rows(path, "a summary of OpenCompass")]
    header = list(rows[0][1]) if rows else []
    models = [column for column in header if column not in _COLUMNS]
    if len(models) != 1 or not {"dataset", "metric"} <= set(header):
        raise InputError(
            f"{path} is no summary of one model: wanted columns {', '.join(_COLUMNS)} and the model's, got "
            f"{header or 'no rows'}"
        )
    scored = [(line, cells) for line, cells in rows if cells[models[0]] not in ("", _NONE)]
    names = [cells["dataset"] for _, cells in scored]
    found: dict[str, float] = {}
    for line, cells in scored:
        several = names.count(cells["dataset"]) > 1
        target = f"{cells['dataset']} {cells['metric']}" if several else cells["dataset"]
        if target in found:
            raise InputError(f"{path}, line {line}: {target!r} is there twice")
        try:
            found[target] = number(cells[models[0]])
        except ValueError as error:
            raise InputError(f"{path}, line {line}, column {models[0]!r}: {error}") from None
    return found
