"""The adviser of `m2m run` on trainings: what it knows as landscapes, what they say in the run's words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.results import plain, versions, write_results
from analysis.trust.course import judged, next_round, verdict
from analysis.trust.design import Planned
from analysis.trust.landscape import MOST, RANDOM, Landscape
from analysis.trust.study import NAME, REASONS, to_json, to_tables
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.pipeline.advice import Advice, Evidence, Known, Training


@dataclass(frozen=True)
class TrustAdviser:
    """Advises a run (`m2m.pipeline.advice.Adviser`).

    Attributes:
        folder: Where the whole study goes, for the figure: `trust.json` and `trust.csv`.
    """

    folder: Path

    def next(self, known: Known, left: int | None) -> Advice:
        """Advise on the next trainings; see the protocol."""
        try:
            landscapes = landscapes_of(known)
        except InputError as error:
            return Advice((), None, str(error))
        rows = {mixture: row for row, mixture in enumerate(landscapes[0].mixtures)}
        before = [
            Planned(one.mixture, rows[one.mixture], one.purpose, one.free)
            for one in known.trainings
            if one.mixture in rows
        ]
        given = [rows[mixture] for mixture in known.given if mixture in rows]
        found = next_round(landscapes, before, left, given, known.tolerance, known.seed)
        new = tuple(Training(one.mixture, one.purpose, one.trained) for one in found.planned)
        return Advice(new, found.probability)

    def judge(self, known: Known) -> dict[str, Any]:
        """Judge the pick, and write the study; see the protocol."""
        try:
            found = judged(landscapes_of(known), known.tolerance, known.seed)
        except InputError as error:
            return {"reason": str(error)}
        made_by = {"seed": known.seed, "versions": versions()}
        write_results(self.folder, NAME, to_json(found) | made_by, to_tables(found), REASONS)
        said: dict[str, Any] = plain(verdict(found))
        return said


def landscapes_of(known: Known) -> list[Landscape]:
    """Read a run's scores as landscapes over the same mixtures.

    Args:
        known: The scores, and what was trained by chance or for being a contender.

    Returns:
        A landscape a target, without those on which merging prefers no mixture. Of more mixtures than can be
        believed in together the best merged ones on the first target stay, and all single datasets.

    Raises:
        InputError: If the first target's scores are no landscape.
    """  # noqa: DOC502 - raised by what is called
    purposes = {one.mixture: one.purpose for one in known.trainings}
    drawn = [one.mixture for one in known.trainings if one.purpose == RANDOM]
    purposes |= dict.fromkeys([*known.given, *drawn], RANDOM)
    first, *others = known.evidence
    kept = _kept(first)
    landscapes = [_landscape(first, kept, purposes)]
    for other in others:
        with suppress(InputError):  # it has nothing to teach
            landscapes.append(_landscape(other, kept, purposes))
    return landscapes


def _kept(evidence: Evidence) -> list[Mixture]:
    mixtures = list(evidence.merged)
    if len(mixtures) <= MOST:
        return mixtures
    sign = -1 if evidence.higher_is_better else 1
    ranked = sorted(mixtures, key=lambda one: (len(one.members) > 1, sign * evidence.merged[one]))
    best = set(ranked[:MOST])
    return [mixture for mixture in mixtures if mixture in best]


def _landscape(evidence: Evidence, mixtures: Sequence[Mixture], purposes: dict[Mixture, str]) -> Landscape:
    trained = [evidence.trained.get(mixture.label, np.nan) for mixture in mixtures]
    return Landscape(
        tuple(mixtures),
        np.array([evidence.merged[mixture] for mixture in mixtures]),
        np.array([trained]),
        target=evidence.target,
        metric=evidence.metric,
        higher_is_better=evidence.higher_is_better,
        purposes=tuple(purposes.get(mixture, "") for mixture in mixtures),
    )
