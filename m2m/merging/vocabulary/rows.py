"""Which row of which model stands behind each id of the output's vocabulary, by mergekit's rule.

A model's own row, if it has the token. Else, in this order: what the recipe says of the token; the row of the
one model that has it; zeros if none has; the base model's; the mean of all that have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from m2m.merging.vocabulary.gathered import RowMap


class Row(NamedTuple):
    """A row of a model; zeros if there is no model."""

    source: int | None
    row: int = 0


class Wish(NamedTuple):
    """What a recipe says of a token: its row, and whether models that have the token get it too."""

    row: Row
    force: bool


@dataclass(frozen=True)
class Vocabularies:
    """The K models of a merge and the output, by token.

    Attributes:
        out: Token by id of the output; an id without a token is no one's.
        models: Id by token of each model. [K]
        base: Which of the models is the base model, if one is.
        wishes: What the recipe says, by token.
    """

    out: Mapping[int, str]
    models: Sequence[Mapping[str, int]]
    base: int | None
    wishes: Mapping[str, Wish]

    def rows_of(self, own: int, count: int, padded: int) -> RowMap:
        """Find the rows of one model for the first `count` ids, then padding up to `padded` rows."""
        found = RowMap(len(self.models))
        ids = self.models[own]
        for number in range(count):
            token = self.out.get(number)
            wish = None if token is None else self.wishes.get(token)
            row = None if token is None or (wish and wish.force) else ids.get(token)
            if row is not None:
                found.add(own, row)
            elif wish is not None:
                self._add(found, [wish.row])
            else:
                self._add(found, self._usual(token))
        if padded > count:
            found.add(found.padding, count=padded - count)
        return found

    def _usual(self, token: str | None) -> list[Row]:
        if token is None:
            return []
        having = [Row(k, ids[token]) for k, ids in enumerate(self.models) if token in ids]
        of_base = [row for row in having if row.source == self.base]
        return of_base or having

    @staticmethod
    def _add(found: RowMap, rows: Sequence[Row]) -> None:
        terms = [(source, row) for source, row in rows if source is not None]
        if not terms:
            found.add(found.zeros)
        elif len(terms) == 1:
            found.add(*terms[0])
        else:
            found.add_mean(terms)
