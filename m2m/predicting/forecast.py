"""`m2m.predict`: from tables of mixtures and scores to a table of predicted scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m2m.errors import ConfigError, InputError
from m2m.predicting.families import AUTO
from m2m.predicting.predictor import Predictor, fit_predictor, slow_families
from m2m.predicting.tables import INDEX, MixtureTable, read_mixtures, read_scores
from m2m.support.arguments import argument
from m2m.support.checked import Natural, checked
from m2m.support.csv_tables import write_frame
from m2m.support.outputs import Output, check_outputs
from m2m.support.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Forecast:
    """Predicted scores, and what they rest on.

    Attributes:
        predictor: The fitted predictor, with its cross-validated rank correlations.
        mixtures: The scored mixtures that it was fitted to.
        tables: For each table of mixtures to predict, a row a mixture: its label, `predicted`, `std`, `low`,
            `high`, in the score's unit.
    """

    predictor: Predictor
    mixtures: MixtureTable
    tables: Sequence[pd.DataFrame]

    @property
    def table(self) -> pd.DataFrame | None:
        """The first of `tables`; None if there was nothing to predict."""
        return self.tables[0] if self.tables else None


@checked(pd="pandas")
def predict(
    mixtures: Path | str | pd.DataFrame,
    scores: Path | str | pd.DataFrame,
    target: str,
    *,
    at: Path | str | pd.DataFrame | Sequence[Path | str | pd.DataFrame] | None = None,
    out: str | Path | Sequence[str | Path] | None = None,
    model: str = AUTO,
    folds: int = 5,
    seed: Natural = 0,
    index: str | None = None,
    progress: Progress | None = None,
) -> Forecast:
    """Predict the scores of mixtures from those of other mixtures.

    Args:
        mixtures: Scored mixtures: a column a domain, weights on the simplex or members as 0 and 1. [M, N]
        scores: Their scores, joined on the index column, or in order if there is none.
        target: The column of scores to predict.
        at: Mixtures to predict, with the same domains in any order, or several such tables. [M', N]
        out: CSV file for the predictions of `at`, one for each table; None for none.
        model: One of `m2m.predicting.FAMILIES`, or `auto`.
        folds: Folds of the cross-validation, at least 2.
        seed: Decides all random choices.
        index: Name of the column that joins the tables; None for `index` if there is one.
        progress: Called with (done, total, what).

    Returns:
        The forecast.

    Raises:
        InputError: If `folds` is below 2. The readers refuse wrong tables.
        ConfigError: If `out` cannot be written, or is not a file for each table of `at`.
    """
    asked, outs = _several(at), [Path(path) for path in _several(out)]
    if outs:
        if len(outs) != len(asked):
            raise ConfigError(
                f"{argument('out')} is for the predictions of {argument('at')}, a file for each table: got "
                f"{len(asked)} to predict and {len(outs)} to write"
            )
        read = [table for table in (mixtures, scores, *asked) if isinstance(table, str | Path)]
        check_outputs([Output(argument("out", path), path) for path in outs], inputs=read)
    if folds < 2:
        raise InputError(f"cross-validation needs at least 2 folds, got {folds}")
    known = read_mixtures(mixtures, index)
    y = read_scores(scores, target, known, index)
    # Read before the long part, so that a mistake shows at once.
    wanted = [read_mixtures(table, index, known.domains) for table in asked]
    for table in wanted:
        _warn_of_new_domains(known, table)
    slow = slow_families(model, *known.weights.shape)
    for note in slow:
        _log.warning("%s: %s", target, note)
    predictor = fit_predictor(known.weights, y, model, seed=seed, fold_count=folds, progress=progress)
    for note in predictor.notes:
        if note not in slow:
            _log.warning("%s: %s", target, note)
    tables = [_table(predictor, table, index) for table in wanted]
    for path, predicted in zip(outs, tables, strict=False):
        write_frame(path, predicted)
    return Forecast(predictor, known, tables)


def _several(given: Any) -> list[Any]:
    # Nothing, one, or a list.
    return [] if given is None else [*given] if isinstance(given, list | tuple) else [given]


def _warn_of_new_domains(known: MixtureTable, wanted: MixtureTable) -> None:
    unseen = ~(known.weights > 0).any(axis=0)
    for number in np.flatnonzero(unseen & (wanted.weights > 0).any(axis=0)):
        rows = int((wanted.weights[:, number] > 0).sum())
        _log.warning(
            "%r is in no scored mixture: what is predicted for %d mixtures with it in %s is a guess",
            known.domains[number],
            rows,
            wanted.where,
        )


def _table(predictor: Predictor, wanted: MixtureTable, index: str | None) -> pd.DataFrame:
    import pandas as pd

    found = predictor.predict(wanted.weights)
    label = (index or INDEX) if wanted.indexed else "row"
    columns = {"predicted": found.mean, "std": found.std, "low": found.low, "high": found.high}
    return pd.DataFrame({label: list(wanted.labels), **columns})
