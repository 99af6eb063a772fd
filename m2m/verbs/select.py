"""`m2m select`: the best candidate of a table of scores, and by how much it leads the runner-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from m2m.errors import ConfigError
from m2m.scoring.paired import Lead, paired_lead
from m2m.support.arguments import argument
from m2m.support.checked import checked
from m2m.verbs.pairs_of_table import PairCheck, PairsOfTable
from m2m.verbs.score_rows import ScoreLine, examples_of, rows_of, table_of


@dataclass(frozen=True)
class RunnerUp:
    """The second best candidate, and how far it is behind where per-example values are known."""

    candidate: str
    value: float
    difference: Lead | None


@dataclass(frozen=True)
class ByPairs:
    """What trained pairs changed.

    Attributes:
        trainings: How many trained pairs there were; each of several seeds is one.
        added: What they add to the pick's merged score, in the metric's unit; 0 for a single dataset.
        merged_pick: What would be picked without them.
        check: How well corrected scores foretell larger mixtures; None where none was trained.
    """

    trainings: int
    added: float
    merged_pick: str
    check: PairCheck | None


@dataclass(frozen=True)
class Selection:
    """The best candidate of a table.

    Attributes:
        picked: Its name.
        members: Its datasets.
        value: Its score, corrected if there are `pairs`.
        task: The task that it is best on.
        split: The split.
        metric: The metric.
        higher_is_better: Its direction.
        candidates: How many were compared.
        ties: How many others have exactly its score.
        runner_up: The next best; None if there is no other.
        pairs: What trained pairs changed; None if none were asked for.
    """

    picked: str
    members: Sequence[str]
    value: float
    task: str
    split: str
    metric: str
    higher_is_better: bool
    candidates: int
    ties: int
    runner_up: RunnerUp | None
    pairs: ByPairs | None = None


@checked()
def select(
    table: str | Path,
    *,
    task: str | None = None,
    metric: str | None = None,
    split: str = "validation",
    origin: str = "merged",
    version: str | None = None,
    seed: int | None = None,
    pairs: str | Path | None = None,
) -> Selection:
    """Pick the best candidate of a table of scores, and say by how much it leads the runner-up.

    Every ambiguity is settled by an argument or refused; nothing is taken by chance. Ties go to fewer
    datasets, then to the table's order.

    With `pairs`, models really trained on every pair of the datasets, merged scores are corrected before
    anything is compared: s(λ) + Σ_{k<j} u_kj λ_k λ_j with u_kj = (trained − merged)/(λ_k λ_j) of the pair
    k + j, which is Scheffé's quadratic on scores (J. Roy. Statist. Soc. B 20, 1958). It is exact where
    trained − merged is such a sum, as it is to second order of training (docs/theory.md); single datasets
    keep their scores, pairs get their trained ones. Real runs are often beyond second order, where it may
    mislead (docs/searching.md): larger mixtures that were trained too are held against it (`pairs.check`).

    Args:
        table: CSV file of `m2m.score`, or a run folder; per-example values are taken from the SQLite file
            beside it.
        task: The task or target; needed if the table has several.
        metric: The metric; None: the task's headline metric, which the SQLite file beside the table knows.
        split: The split.
        origin: Whose scores: of `merged` or of `trained` models.
        version: The task's version; needed if the table has scores from before and after a change of it.
        seed: Training seed of trained models; needed if there are several. Of `pairs`; None: all, averaged.
        pairs: Table or run folder with scores of models trained on every pair of the datasets (`origin`
            `trained`), on the same task; it may be `table` itself.

    Returns:
        The pick.

    Raises:
        InputError: If the file is no such table, does not have what is asked for, or has several of it; or a
            pair was not trained.
        ConfigError: If `pairs` shall correct scores of trained models.
    """  # noqa: DOC502 - partly raised by what is called
    if pairs is not None and origin != "merged":
        raise ConfigError(
            f"{argument('pairs')} corrects merged scores, not those with {argument('origin', origin)}"
        )
    source = table_of(Path(table))
    chosen = {"origin": origin, "split": split, "task": task, "metric": metric, "version": version}
    rows = rows_of(source, chosen | {"seed": None if pairs is not None else seed})
    if pairs is None:
        return _selected(source, rows, None)
    corrected = PairsOfTable.read(source, rows, table_of(Path(pairs)), seed)
    return _selected(source, rows, corrected)


def _selected(table: Path, rows: Sequence[ScoreLine], pairs: PairsOfTable | None) -> Selection:
    best, *others = _ranked(pairs.rows if pairs else rows)
    return Selection(
        picked=best.candidate,
        members=best.members,
        value=best.score,
        task=best.task,
        split=best.split,
        metric=best.metric,
        higher_is_better=best.higher_is_better,
        candidates=len(rows),
        ties=sum(row.score == best.score for row in others),
        runner_up=_runner_up(table, best, others[0], pairs) if others else None,
        pairs=_by_pairs(pairs, best, _ranked(rows)[0]) if pairs else None,
    )


def _by_pairs(pairs: PairsOfTable, best: ScoreLine, merged_best: ScoreLine) -> ByPairs:
    return ByPairs(pairs.trainings, best.added, merged_best.candidate, pairs.check)


def _ranked(rows: Sequence[ScoreLine]) -> list[ScoreLine]:
    sign = -1 if rows[0].higher_is_better else 1
    return sorted(rows, key=lambda row: (sign * row.score, len(row.members)))


def _runner_up(table: Path, best: ScoreLine, other: ScoreLine, pairs: PairsOfTable | None) -> RunnerUp:
    first, second = (pairs.examples(row) if pairs else examples_of(table, row) for row in (best, other))
    lead = paired_lead(first, second) if first is not None and second is not None and len(first) > 1 else None
    return RunnerUp(other.candidate, other.score, lead)
