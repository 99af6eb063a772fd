"""Scores of the same mixtures from two sides, as the points that fidelity is computed from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.fidelity.scores import Points
from m2m.errors import InputError, MixtureError
from m2m.mixture import Mixture
from m2m.support.schema import shown

#: Scores of models: of each mixture by its name there, a score by target.
Scores = Mapping[str, Mapping[str, float]]


def mixtures_of(where: str, amounts: Mapping[str, Mapping[str, float]]) -> dict[str, Mixture]:
    """Return mixtures from what was taken of each dataset, by the mixture's name; all of the same datasets.

    Args:
        where: The source, for messages.
        amounts: Shares or counts by dataset, by mixture; what is not there is zero.

    Returns:
        The mixtures by name.

    Raises:
        InputError: If an amount is negative, all are zero, or a name is none for a dataset.
    """
    datasets = dict.fromkeys(dataset for of_mixture in amounts.values() for dataset in of_mixture)
    found = {}
    for name, of_mixture in amounts.items():
        try:
            found[name] = Mixture.normalised({dataset: of_mixture.get(dataset, 0.0) for dataset in datasets})
        except MixtureError as error:
            raise InputError(f"{where}: {name!r}: {error}") from None
    return found


def paired(
    where: str, mixtures: Mapping[str, Mixture], merged: Scores, trained: Scores, *, higher_is_better: bool
) -> list[Points]:
    """Pair two sides, a target at a time.

    Args:
        where: The source, for messages.
        mixtures: The mixtures by name.
        merged: Scores of the models that stand in.
        trained: Scores of the really trained ones.
        higher_is_better: Direction of all scores.

    Returns:
        The targets that both sides have, in the order of `trained`; a mixture that only one side has scored
        is left out, and counted.

    Raises:
        InputError: If a side has a mixture that is not there, or no target has a mixture on both sides.
    """
    for side in (merged, trained):
        unknown = [name for name in side if name not in mixtures]
        if unknown:
            raise InputError(
                f"{where}: there are scores of {unknown[0]!r}, and no such mixture; there are "
                f"{shown(list(mixtures))}"
            )
    targets = dict.fromkeys(target for scores in trained.values() for target in scores)
    found = [
        _target(target, mixtures, merged, trained, higher_is_better=higher_is_better) for target in targets
    ]
    found = [points for points in found if points.n]
    if not found:
        raise InputError(
            f"{where}: no mixture is scored on both sides by the same name of a target: "
            f"{_said('merged', merged)}; {_said('trained', trained)}"
        )
    return found


def _target(
    target: str, mixtures: Mapping[str, Mixture], merged: Scores, trained: Scores, *, higher_is_better: bool
) -> Points:
    sides = [{name: scores[target] for name, scores in side.items() if target in scores}
             for side in (merged, trained)]  # fmt: skip
    both = [name for name in mixtures if name in sides[0] and name in sides[1]]
    return Points(
        target=target,
        metric="score",
        higher_is_better=higher_is_better,
        labels=tuple(mixtures[name].label for name in both),
        members=tuple(mixtures[name].members for name in both),
        merged=np.array([sides[0][name] for name in both], dtype=np.float64),
        trained=np.array([sides[1][name] for name in both], dtype=np.float64),
        again=np.full(len(both), np.nan),
        left_out=len(sides[0].keys() ^ sides[1].keys()),
    )


def _said(side: str, scores: Scores) -> str:
    targets = list(dict.fromkeys(target for of_mixture in scores.values() for target in of_mixture))
    return f"{side}, {len(scores)} mixtures on {shown(targets)}"
