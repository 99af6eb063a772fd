"""`m2m export`: a mixture the way a trainer reads it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from m2m.errors import ConfigError, InputError
from m2m.exporting import FORMATS, Sources, read_mixture, render
from m2m.exporting.local_files import builder_of
from m2m.mixture import MergingWeights, Mixture
from m2m.support.arguments import argument
from m2m.support.checked import checked
from m2m.support.csv_tables import read_rows
from m2m.support.files import write_atomically
from m2m.support.names import COLUMNS
from m2m.support.outputs import Output, check_outputs
from m2m.support.schema import did_you_mean
from m2m.verbs.run_sources import with_run_s
from m2m.verbs.select import select

_log = logging.getLogger(__name__)


@checked()
def export(
    mixture: Mixture | str | Path, to: str, out: str | Path, sources: Sources | None = None
) -> Mixture:
    """Write a mixture the way a trainer reads it, with shares that sum to exactly 1.

    Args:
        mixture: The shares in which examples are drawn; or where they are: a folder of `m2m run` or
            `m2m mix`, a JSON file `{"a": 0.3, …}`, the text `a=0.3,b=0.7`, or a CSV file: scores of `m2m
            score` stand for what `m2m.select` picks of them, what `m2m search` tried for what it picked.
        to: The trainer's format, one of `m2m.exporting.FORMATS`.
        out: The file to write.
        sources: What the trainer needs to know beside the shares: where datasets lie, how many examples. A
            dataset of a run that is one whole file lies there unless this says otherwise; a file that does
            not exist is a warning.

    Returns:
        The mixture that was written.

    Raises:
        ConfigError: If there is no such format, or `out` cannot be written.
        InputError: If `mixture` is no mixture, or counts are asked for that the datasets do not have.
    """  # noqa: DOC502 - partly raised by what is called
    written = [] if isinstance(mixture, Mixture) or os.path.isdir(mixture) else [mixture]
    check_outputs([Output(argument("out", out), Path(out))], inputs=written)
    check_format(to)
    sources = sources or Sources()
    found = mixture if isinstance(mixture, Mixture) else _read(str(mixture), sources)
    if not isinstance(mixture, Mixture) and os.path.isdir(mixture):
        sources = with_run_s(sources, Path(mixture), found.members, to)
    for name, path in sources.paths.items():
        if builder_of(path) is not None and "://" not in path and not (os.path.exists(path) or glob(path)):
            _log.warning("%s: there is no file %s from here; it is written as it is", name, path)
    write_atomically(Path(out), render(found, to, sources))
    return found


def _read(source: str, sources: Sources) -> Mixture:
    if not source.endswith(".csv") or not os.path.isfile(source):
        return read_mixture(source, sources.sizes)
    path = Path(source)
    tried = [row for _, row in read_rows(path, "a table of scores, or of what a search tried")]
    if not tried or "picked" not in tried[0]:
        found = select(path)
        return _trained_on(path, found.picked, found.members)
    picked = [row["candidate"] for row in tried if row["picked"].lower() in ("true", "1")]
    if len(picked) != 1:
        raise InputError(f"{path} has {len(picked)} rows that are `picked`, wanted the one of a search")
    return _trained_on(path, picked[0], [name for name in tried[0] if name not in COLUMNS])


def _trained_on(path: Path, picked: str, datasets: Sequence[str]) -> Mixture:
    weights = MergingWeights.parse(picked, datasets)
    if weights.scale != 1:
        _log.warning(
            "%s: the pick %s is a merge at the scale %.6g, which no training has: its shares are exported",
            path, weights.shown, weights.scale,
        )  # fmt: skip
    return weights.mixture


def check_format(name: str, what: str = "to") -> str:
    """Return the name of a trainer's format, if it is one; `what` is the argument that names it."""
    if name not in FORMATS:
        hint = did_you_mean(name, FORMATS)
        raise ConfigError(
            f"{argument(what)}: there is no format {name!r}{hint}; there are {', '.join(FORMATS)}"
        )
    return name
