"""Studies of scores of which few are of trained models: how far merging's choice can be trusted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.results import versions, write_results
from analysis.studies.outcome import Outcome, checked_folder
from m2m.errors import ConfigError
from m2m.support.arguments import argument
from m2m.support.checked import Natural, Positive, checked

if TYPE_CHECKING:
    from analysis.trust import Planned, Trust


@checked()
def measure_trust(
    source: str | Path,
    out: str | Path | None = None,
    *,
    merged: str | None = None,
    trained: str | None = None,
    by: str | None = None,
    again: str | None = None,
    lower_is_better: bool = False,
    budget: Positive | None = None,
    tolerance: float = 0.05,
    threshold: float = 0.9,
    seed: Natural = 0,
) -> Outcome[Trust] | Outcome[list[Planned]]:
    """Say how far merging's choice can be trusted when few mixtures were trained (`m2m-analysis trust`).

    Args:
        source: A CSV table with a row a mixture, all merged and some trained, or a finished run folder.
        out: Where to write; None: the run's own figures folder.
        merged: Column of the merged models' scores; None: `merged`. Like the next four, for tables only.
        trained: Column of the mixture-trained models' scores; None: `trained`, which a table without any
            training need not have where only a budget is asked about.
        by: Column that names the target.
        again: Column of a second training seed's scores.
        lower_is_better: Whether scores are losses.
        budget: Say only which mixtures to train, this many that are not trained yet, and write the table to
            fill in, `trainings.csv`.
        tolerance: How far off the best a pick may be, as a share of the range of trained scores.
        threshold: Probability of that at which training can stop.
        seed: Seed of all draws.

    Returns:
        The pick with its regret, each mixture's chance of being best, and what to train next; with `budget`
        the mixtures to train.

    Raises:
        ConfigError: If arguments do not go with what `source` is, or are out of range.
        InputError: If it is no such table or run, or too few mixtures are trained.
    """  # noqa: DOC502 - partly raised by what is called
    from analysis.trust import sources, trainings
    from analysis.trust.study import NAME, REASONS, study, to_json, to_tables
    from paper_figs.merge_to_mix import contenders

    source, table = Path(source), not os.path.isdir(source)
    if table and out is None:
        raise ConfigError(f"a table needs {argument('out')}")
    begins = NAME if budget is None else trainings.NAME
    folder = checked_folder(source / "figures" if out is None else out, begins, [source] if table else [])
    columns = {"merged": merged, "trained": trained, "by": by, "again": again}
    landscapes, origin = sources.read(
        source, columns, lower_is_better=lower_is_better, planning=budget is not None
    )
    if budget is not None:
        planned = trainings.plan(landscapes, budget, seed)
        trainings.write(folder, landscapes, planned)
        warnings = trainings.warnings(landscapes, planned)
        return Outcome(planned, trainings.to_json(planned, warnings), folder)
    found = study(landscapes, tolerance=tolerance, threshold=threshold, seed=seed)
    content = to_json(found)
    made_by = {"source": origin, "seed": seed, "versions": versions()}
    write_results(folder, NAME, content | made_by, to_tables(found), REASONS)
    contenders.draw(folder, folder)
    return Outcome(found, content, folder, REASONS)
