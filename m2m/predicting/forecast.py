"""`m2m.predict`: from tables of mixtures and scores to a table of predicted scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.errors import ConfigError, InputError
from m2m.predicting.families import AUTO
from m2m.predicting.predictor import Predictor, fit_predictor, slow_families
from m2m.predicting.saved import FittedPredictor, load_predictor
from m2m.predicting.tables import INDEX, MixtureTable, read_mixtures, read_scores
from m2m.support.arguments import argument
from m2m.support.arrays import Floats
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
        fitted: The predictor, and what it was fitted to; `fitted.save(path)` writes it.
        tables: For each table of mixtures to predict, a row a mixture: its label, `predicted`, `std`, `low`,
            `high`, in the score's unit.
    """

    fitted: FittedPredictor
    tables: Sequence[pd.DataFrame]

    @property
    def predictor(self) -> Predictor:
        """The predictor, with its cross-validated rank correlations."""
        return self.fitted.predictor

    @property
    def table(self) -> pd.DataFrame | None:
        """The first of `tables`; None if there was nothing to predict."""
        return self.tables[0] if self.tables else None


@checked(pd="pandas")
def predict(
    mixtures: Path | str | pd.DataFrame | None = None,
    scores: Path | str | pd.DataFrame | None = None,
    target: str | None = None,
    *,
    at: Path | str | pd.DataFrame | Sequence[Path | str | pd.DataFrame] | None = None,
    out: str | Path | Sequence[str | Path] | None = None,
    model: str = AUTO,
    folds: int = 5,
    seed: Natural = 0,
    index: str | None = None,
    save: str | Path | None = None,
    load: str | Path | None = None,
    progress: Progress | None = None,
) -> Forecast:
    """Predict the scores of mixtures from those of other mixtures.

    The predictor is fitted to `mixtures`, `scores` and `target`, all three, or was fitted before: `load`.

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
        save: Where the fitted predictor goes (JSON).
        load: A predictor that was saved, in place of tables to fit one to; `model`, `folds` and `seed` then
            say nothing.
        progress: Called with (done, total, what).

    Returns:
        The forecast.

    Raises:
        InputError: If `folds` is below 2. The readers refuse wrong tables and wrong files.
        ConfigError: If `out` or `save` cannot be written, `out` is not a file for each table of `at`, or what
            to fit to is not all there, or there beside `load`.
    """
    asked, outs = _several(at), [Path(path) for path in _several(out)]
    if outs and len(outs) != len(asked):
        raise ConfigError(
            f"{argument('out')} is for the predictions of {argument('at')}, a file for each table: got "
            f"{len(asked)} to predict and {len(outs)} to write"
        )
    _check_sources({"mixtures": mixtures, "scores": scores, "target": target}, save, load)
    writes = [Output(argument("out", path), path) for path in outs]
    writes += [Output(argument("save", save), Path(save))] if save is not None else []
    read = [source for source in (mixtures, scores, load, *asked) if isinstance(source, str | Path)]
    check_outputs(writes, inputs=read)
    if folds < 2:
        raise InputError(f"cross-validation needs at least 2 folds, got {folds}")
    if mixtures is None or scores is None or target is None:
        assert load is not None
        fitted = load_predictor(load)
        wanted = _wanted(asked, index, fitted.domains, fitted.unseen)
    else:
        known = read_mixtures(mixtures, index)
        y = read_scores(scores, target, known, index)
        # Read before the long part, so that a mistake shows at once.
        wanted = _wanted(asked, index, known.domains, _unseen(known))
        fitted = _fit(known, y, target, model, folds, seed, progress)
    tables = [_table(fitted.predictor, table, index) for table in wanted]
    if save is not None:
        fitted.save(save)
    for path, predicted in zip(outs, tables, strict=False):
        write_frame(path, predicted)
    return Forecast(fitted, tables)


def _check_sources(fits: Mapping[str, object], save: object, load: object) -> None:
    """Refuse what to fit to in part, and all of it beside a predictor that is fitted."""
    if load is not None:
        beside = [argument(name) for name, value in {**fits, "save": save}.items() if value is not None]
        if beside:
            raise ConfigError(
                f"{argument('load')} is a predictor that is fitted: leave out {' and '.join(beside)}"
            )
    elif missing := [argument(name) for name, value in fits.items() if value is None]:
        raise ConfigError(
            f"{' and '.join(missing)}: missing; a predictor is fitted to {argument('mixtures')}, "
            f"{argument('scores')} and {argument('target')}, or was fitted before: {argument('load')}"
        )


def _fit(
    known: MixtureTable, y: Floats, target: str, model: str, folds: int, seed: int, progress: Progress | None
) -> FittedPredictor:
    slow = slow_families(model, *known.weights.shape)
    for note in slow:
        _log.warning("%s: %s", target, note)
    predictor = fit_predictor(known.weights, y, model, seed=seed, fold_count=folds, progress=progress)
    for note in predictor.notes:
        if note not in slow:
            _log.warning("%s: %s", target, note)
    return FittedPredictor(target, known.domains, _unseen(known), known.subsets, predictor)


def _several(given: Any) -> list[Any]:
    # Nothing, one, or a list.
    return [] if given is None else [*given] if isinstance(given, list | tuple) else [given]


def _unseen(known: MixtureTable) -> tuple[str, ...]:
    return tuple(name for number, name in enumerate(known.domains) if not known.weights[:, number].any())


def _wanted(
    asked: Sequence[Any], index: str | None, domains: Sequence[str], unseen: Sequence[str]
) -> list[MixtureTable]:
    wanted = [read_mixtures(table, index, domains) for table in asked]
    for table in wanted:
        _warn_of_new_domains(table, unseen)
    return wanted


def _warn_of_new_domains(wanted: MixtureTable, unseen: Sequence[str]) -> None:
    for name in unseen:
        rows = int((wanted.weights[:, wanted.domains.index(name)] > 0).sum())
        if rows:
            _log.warning(
                "%r is in no scored mixture: what is predicted for %d mixtures with it in %s is a guess",
                name,
                rows,
                wanted.where,
            )


def _table(predictor: Predictor, wanted: MixtureTable, index: str | None) -> pd.DataFrame:
    import pandas as pd

    found = predictor.predict(wanted.weights)
    label = (index or INDEX) if wanted.indexed else "row"
    columns = {"predicted": found.mean, "std": found.std, "low": found.low, "high": found.high}
    return pd.DataFrame({label: list(wanted.labels), **columns})
