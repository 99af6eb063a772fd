"""Scores of merged models that are made as they are asked for, each kept in a table and never made again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from m2m.mixture import MergingWeights
from m2m.scoring.models import Models
from m2m.scoring.prepare import is_scored, keep
from m2m.scoring.source import ScoreSource
from m2m.scoring.spread import SpreadSource
from m2m.scoring.table import ScoreRow, ScoreTable
from m2m.scoring.tasks.scorer import Scorer
from m2m.support.content_keys import content_key


class KeptScores:
    """A source of scores with a table: what is there already costs nothing.

    Attributes:
        source: Where scores come from.
        scorers: Its tasks by name.
    """

    def __init__(self, source: ScoreSource | SpreadSource, table: Path) -> None:
        self.source, self._table = source, table
        self._content = source.models.content(source.bench, source.means.device.type)
        self.scorers = {scorer.task: scorer for scorer in source.bench.scorers}

    @property
    def identity(self) -> str:
        """A hash of what is merged and of how it is scored."""
        return content_key(*self._content)

    def prepare(self, mixtures: Sequence[MergingWeights]) -> None:
        """Score the mixtures that are not scored yet, in one pass over the experts."""
        with ScoreTable(self._table) as table:
            wanted = defaultdict[tuple[str, ...], list[MergingWeights]](list)
            for mixture in {mixture.key: mixture for mixture in mixtures}.values():
                if missing := tuple(s.task for s in self._missing(table, self._key(mixture))):
                    wanted[missing].append(mixture)
            for tasks, group in wanted.items():
                scorers = [self.scorers[task] for task in tasks]
                for mixture, scores in self.source.scores(group, scorers):
                    keep(table, self._key(mixture), mixture, scorers, scores)

    def row(self, mixture: MergingWeights, task: str, metric: str) -> ScoreRow:
        """Return a mixture's score on a task, from the table or measured now."""
        self.prepare([mixture])
        return self._row(self._key(mixture), task, metric)

    def base_row(self, task: str, metric: str) -> ScoreRow:
        """Return the base model's own score on a task."""
        key = content_key("base", *self._content)
        with ScoreTable(self._table) as table:
            missing = self._missing(table, key)
            for _, scores in self._of_base().walk([[1.0]], ["base"], missing) if missing else ():
                for scorer, found in zip(missing, scores, strict=True):
                    table.add(
                        key, None, "base", None, scorer.task, scorer.split, scorer.version, found,
                        scorer.metrics,
                    )  # fmt: skip
        return self._row(key, task, metric)

    def _of_base(self) -> ScoreSource:
        # The base model as its own only expert goes every way that merged models go.
        models = self.source.models
        alone = Models(models.base, {"base": models.base}, models.hashes)
        return ScoreSource(alone, self.source.bench, self.source.means)

    def _key(self, mixture: MergingWeights) -> str:
        return content_key(*self._content, mixture.weights)

    def _missing(self, table: ScoreTable, key: str) -> list[Scorer]:
        return [scorer for scorer in self.scorers.values() if not is_scored(table, key, scorer)]

    def _row(self, key: str, task: str, metric: str) -> ScoreRow:
        with ScoreTable(self._table) as table:
            [row] = table.rows(key=key, task=task, version=self.scorers[task].version, metric=metric)
        return row
