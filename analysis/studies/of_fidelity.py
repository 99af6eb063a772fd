"""How well merged models' scores stand in for trained ones: of runs, tables, and what others published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.results import run_source
from analysis.studies.outcome import Outcome, checked_folder
from m2m.errors import ConfigError
from m2m.support.arguments import argument
from m2m.support.checked import Natural, checked
from m2m.support.content_keys import Part, content_key
from m2m.support.schema import did_you_mean

if TYPE_CHECKING:
    from analysis.fidelity import FidelityStudy


@checked()
def measure_fidelity(
    source: str | Path,
    out: str | Path | None = None,
    *,
    merged: str | None = None,
    trained: str | None = None,
    by: str | None = None,
    again: str | None = None,
    lower_is_better: bool = False,
    layout: str | None = None,
    seed: Natural = 0,
) -> Outcome[FidelityStudy]:
    """Compare the scores of merged models with those of mixture-trained ones (`m2m-analysis fidelity`).

    Args:
        source: A finished run folder that trained every mixture, a CSV table with a row a mixture, or what
            others published.
        out: Where to write; None: the run's own figures folder.
        merged: Column of the merged models' scores. Like the next four, for tables only; with a layout the
            merged models' table, folder or method.
        trained: Column of the mixture-trained models' scores; with a layout their table or folder.
        by: Column that names the target.
        again: Column of a second training seed's scores.
        lower_is_better: Whether scores are losses.
        layout: Whose layout the source has, a name of `analysis.fidelity.published.LAYOUTS`; None: m2m's own.
        seed: Seed of bootstraps and permutations.

    Returns:
        Correlations with intervals, regret, the ceiling that training noise sets.

    Raises:
        ConfigError: If arguments do not go with what `source` is.
        InputError: If it is neither a run with trained mixtures nor such a table or layout.
    """  # noqa: DOC502 - partly raised by what is called
    from analysis.fidelity.study import write
    from paper_figs.merge_to_mix import beside, scatter

    source = Path(source)
    columns = {"merged": merged, "trained": trained, "by": by, "again": again}
    if layout is not None:
        made = _of_published(source, out, layout, columns, lower_is_better=lower_is_better, seed=seed)
    elif not os.path.isdir(source):
        made = _of_table(source, out, columns, lower_is_better=lower_is_better, seed=seed)
    else:
        made = _of_run(source, out, columns, lower_is_better=lower_is_better, seed=seed)
    study, folder, origin = made
    write(study, folder, origin)
    scatter.draw(folder, folder)
    beside.draw(folder, folder)
    overall = study.overall
    found = {"mixtures": overall.mixtures.to_json(), "with_singletons": overall.with_singletons.to_json()}
    return Outcome(study, found, folder)


class _Made(NamedTuple):
    """A study that is to be written: into which folder, and what it was made from."""

    study: FidelityStudy
    folder: Path
    origin: dict[str, Any]


_Columns = Mapping[str, str | None]


def _of_run(
    source: Path, out: str | Path | None, columns: _Columns, *, lower_is_better: bool, seed: int
) -> _Made:
    from analysis.fidelity import of_run

    folder = checked_folder(source / "figures" if out is None else out, "fidelity", [])
    if lower_is_better or any(columns.values()):
        *others, last = (argument(name) for name in (*columns, "lower_is_better"))
        raise ConfigError(f"{', '.join(others)} and {last} are for tables, not for a run")
    return _Made(of_run(source, seed=seed), folder, run_source(source))


def _of_table(
    source: Path, out: str | Path | None, columns: _Columns, *, lower_is_better: bool, seed: int
) -> _Made:
    from analysis.fidelity import of_table

    folder = _folder_of("a table", source, {"out": out, **{n: columns[n] for n in ("merged", "trained")}})
    study = of_table(source, **columns, higher_is_better=not lower_is_better, seed=seed)  # type: ignore[arg-type]
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    config = content_key("fidelity", digest, *columns.values(), str(not lower_is_better), seed)
    return _Made(study, folder, {"table": source.name, **columns, "sha256": digest, "config": config})


def _of_published(
    source: Path,
    out: str | Path | None,
    layout: str,
    columns: _Columns,
    *,
    lower_is_better: bool,
    seed: int,
) -> _Made:
    """Study what others published: any of `LAYOUTS`."""
    from analysis.fidelity import study
    from analysis.fidelity.published import LAYOUTS

    if layout not in LAYOUTS:
        raise ConfigError(
            f"{argument('layout')}: no layout {layout!r}{did_you_mean(layout, LAYOUTS)}; there are "
            + ", ".join(f"{name} ({one.words})" for name, one in LAYOUTS.items())
        )
    chosen = LAYOUTS[layout]
    if columns["by"] is not None or columns["again"] is not None:
        raise ConfigError(
            f"{argument('by')} and {argument('again')} are for tables, not for {layout}'s layout"
        )
    wanted = {name: columns[name] for name in ("merged", "trained") if getattr(chosen, name)}
    folder = _folder_of(f"{layout}'s layout", source, {"out": out, **wanted})
    points = chosen.read(source, columns["merged"], columns["trained"], lower_is_better)
    told: list[Part] = [[p.target, *p.labels, *map(float, p.merged), *map(float, p.trained)] for p in points]
    config = content_key("fidelity", layout, told, str(lower_is_better), seed)
    named = {name: Path(value).name for name, value in wanted.items() if value is not None}
    return _Made(
        study(points, seed), folder, {"layout": layout, "source": source.name, **named, "config": config}
    )


def _folder_of(what: str, source: Path, needed: Mapping[str, str | Path | None]) -> Path:
    """Return the folder that `out` of what is needed names, which must all be given."""
    for name, value in needed.items():
        if value is None:
            raise ConfigError(f"{what} needs {argument(name)}")
    return checked_folder(Path(str(needed["out"])), "fidelity", [source])
