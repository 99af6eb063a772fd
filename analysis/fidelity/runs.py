"""Fidelity of a finished run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.fidelity.measure import Study
from analysis.fidelity.tables import of_scores
from analysis.fidelity.write import write
from analysis.results import run_source
from m2m.errors import InputError
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable


def of_run(root: str | Path, *, seed: int = 0) -> Study:
    """Measure fidelity in a run folder's table of scores, on its headline metric.

    Args:
        root: The run folder, of a run with `validate = true`.
        seed: Seed of bootstraps and permutations.

    Returns:
        The study, one target a task.

    Raises:
        InputError: If the folder is not a finished run, or not one that trained every mixture.
    """
    folder = RunFolder(Path(root))
    results = folder.read_results("metric", "seed")
    if not results or not folder.table.exists():
        raise InputError(
            f"{root} is not a finished run folder: it has no {folder.results.name} or {folder.table.name}"
        )
    if not results.get("oracle"):
        raise InputError(f"{root} trained only what it chose: fidelity needs a run with validate = true")
    with ScoreTable(folder.table, read_only=True) as table:
        examples: list[Any] = [row.examples for row in table.rows()]
        frame = table.frame().assign(examples=examples)
    return of_scores(frame, metric=results["metric"], first_seed=results["seed"], seed=seed)


def record(study: Study, root: str | Path) -> None:
    """Put a study into its run: the files into the figures folder, the numbers into `results.json`.

    Args:
        study: The study of this run.
        root: The run folder.
    """
    folder = RunFolder(Path(root))
    write(study, folder.figures, run_source(root))
    folder.write_results(folder.read_results() | {"fidelity": study.targets_json()})
