"""Surrogates that cost nothing beside merging: what the experts of a mixture score without being merged.

Experts are scored in any case, as mixtures of one dataset. Whoever merges for a choice must do better than a
glance at those scores: at the best member's (`best_member`), at the members' mean (`mean_of_members`), at how
many there are (`size`), or at how similar their data are to the target's (`similarity`). At a single dataset
the first two are the merged model's own score, so nothing there tells them from merging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.fidelity.scores import Points
from m2m.errors import InputError, MixtureError
from m2m.mixture import Mixture
from m2m.support.arrays import Floats

MERGED = "merged"
#: Groups of examples that are left out in turn.
_GROUPS = 64
#: Every surrogate by its name in results, in words.
SURROGATES = {
    MERGED: "merged model",
    "best_member": "best member's expert",
    "mean_of_members": "mean of the members' experts",
    "weighted_mean": "mean of the members' experts by weight",
    "half_and_half": "(merged + best member) / 2",
    "size": "number of datasets",
    "similarity": "mean similarity of the members' data",
}


@dataclass(frozen=True)
class Members:
    """Which mixture holds which experts.

    Attributes:
        datasets: Names of the N datasets. [N]
        experts: Row of each dataset's expert, the mixture of that dataset alone. [N]
        weights: λ of each mixture, zero outside its members. [n, N]
    """

    datasets: tuple[str, ...]
    experts: tuple[int, ...]
    weights: Floats

    @property
    def has(self) -> NDArray[np.bool_]:
        """Whether a mixture holds a dataset. [n, N]."""
        return self.weights > 0

    @property
    def equal(self) -> bool:
        """Whether every mixture weighs its members equally."""
        smallest = np.min(self.weights, axis=1, where=self.has, initial=np.inf)
        return bool(np.all(smallest == np.max(self.weights, axis=1)))

    def best(self, scores: Floats) -> Floats:
        """Return the best member's score, higher being better; `scores` may hold redraws. [..., n] → same."""
        best = np.full(scores.shape, -np.inf)
        for holds, row in zip(self.has.T, self.experts, strict=True):
            best = np.where(holds, np.maximum(best, scores[..., row, None]), best)
        return best

    def mean(self, scores: Floats, weights: Floats) -> Floats:
        """Return the members' mean score under weights [n, N]; `scores` may hold redraws. [..., n] → same."""
        # Added one dataset after the other: equal means of equal members then have equal bits everywhere.
        total, whole = np.zeros(scores.shape), np.zeros(len(weights))
        for share, row in zip(weights.T, self.experts, strict=True):
            total = total + share * np.where(share > 0, scores[..., row, None], 0.0)
            whole = whole + share
        return total / whole


def members_of(points: Points, weights: ArrayLike | None = None) -> Members:
    """Find each mixture's experts among one target's mixtures.

    Args:
        points: The target's scores.
        weights: λ of each mixture, a column a dataset in the order in which datasets first appear. [n, N]
            None: as a label of the form `a=0.25+b=0.75` says, otherwise equal.

    Returns:
        Members, experts and weights.

    Raises:
        InputError: If members are not known, a dataset has no mixture of its own or two of them, or weights
            do not go with the members.
    """
    where = f"target {points.target!r}"
    if points.members is None:
        raise InputError(
            f"{where}: the datasets of each mixture are not known; give members (in a table a column "
            "`members`)"
        )
    datasets = tuple(dict.fromkeys(name for names in points.members for name in names))
    alone = [[i for i, names in enumerate(points.members) if names == (name,)] for name in datasets]
    for name, rows in zip(datasets, alone, strict=True):
        if not rows:
            raise InputError(
                f"{where}: the expert of {name!r} has no scores; add the row of {name!r} alone, whose merged "
                "model is the expert, and whose trained model is too"
            )
        if len(rows) > 1:
            raise InputError(f"{where}: {name!r} alone occurs {len(rows)} times; wanted one row")
    has = _has(points.members, datasets)
    given = (
        _weights_of_labels(points.labels, datasets, has)
        if weights is None
        else np.asarray(weights, dtype=np.float64)
    )
    _check_weights(where, given, has)
    return Members(datasets, tuple(rows[0] for rows in alone), given)


def _has(members: Sequence[Sequence[str]], datasets: Sequence[str]) -> NDArray[np.bool_]:
    place = {name: column for column, name in enumerate(datasets)}
    has = np.zeros((len(members), len(datasets)), dtype=bool)
    for row, names in enumerate(members):
        has[row, [place[name] for name in names]] = True
    return has


def _weights_of_labels(labels: Sequence[str], datasets: Sequence[str], has: NDArray[np.bool_]) -> Floats:
    weights: Floats = has / np.sum(has, axis=1, keepdims=True)
    for row, label in enumerate(labels):
        if "=" in label:
            try:
                weights[row] = Mixture.parse(label, datasets).weights
            except MixtureError:  # a name of the user's own that looks like weights
                continue
    return weights


def _check_weights(where: str, weights: Floats, has: NDArray[np.bool_]) -> None:
    if weights.shape != has.shape:
        raise InputError(
            f"{where}: weights: wanted shape {list(has.shape)} [n, N], got {list(weights.shape)}"
        )
    if not np.all(np.isfinite(weights)) or np.min(weights, initial=0.0) < 0:
        raise InputError(f"{where}: weights: wanted finite numbers, none below zero")
    wrong = np.flatnonzero(np.any(has != (weights > 0), axis=1))
    if len(wrong):
        raise InputError(
            f"{where}: mixture {wrong[0] + 1} has weights above zero for other datasets than its members"
        )


def free_surrogates(
    points: Points,
    *,
    weights: ArrayLike | None = None,
    similarity: Mapping[str, float] | None = None,
) -> dict[str, Floats]:
    """Return what may stand in for training every mixture at no cost, and the merged scores among it.

    Args:
        points: One target's scores; every dataset alone must be among its mixtures.
        weights: λ of each mixture [n, N]; None: as labels say (see `members_of`), otherwise equal.
        similarity: How similar each dataset is to the target, by name, higher for more; None: not known.

    Returns:
        Name, a key of `SURROGATES`, to a score a mixture, in the metric's direction [n]: `merged`;
        `best_member`, the best of the members' expert scores; `mean_of_members`, their mean;
        `weighted_mean`, their mean by λ, where some λ is not equal; `half_and_half`, the mean of `merged` and
        `best_member`; `size`, the number of datasets, more being better; `similarity`, the members' mean by
        λ, where it is known for each.

    Raises:
        InputError: If there is no score of some member's expert; see `members_of`.
    """  # noqa: DOC502 - raised by what is called
    members = members_of(points, weights)
    sign = 1.0 if points.higher_is_better else -1.0
    gains = surrogate_gains(sign * points.merged, members, similarity)
    return {name: sign * gain for name, gain in gains.items()}


def surrogate_gains(
    merged: Floats, members: Members, similarity: Mapping[str, float] | None = None
) -> dict[str, Floats]:
    """Return every surrogate of merged scores, all higher for better; scores may hold redraws. [..., n].

    As `free_surrogates`, for scores that have their direction already and members that are known.
    """
    has = members.has.astype(np.float64)
    best = members.best(merged)
    gains = {MERGED: merged, "best_member": best, "mean_of_members": members.mean(merged, has)}
    if not members.equal:
        gains["weighted_mean"] = members.mean(merged, members.weights)
    gains["half_and_half"] = (merged + best) / 2
    gains["size"] = np.broadcast_to(np.sum(has, axis=1), merged.shape)
    if similarity is not None and set(members.datasets) <= similarity.keys():
        each = np.array([similarity[name] for name in members.datasets])
        of_mixtures = np.sum(members.weights * each, axis=1) / np.sum(members.weights, axis=1)
        gains["similarity"] = np.broadcast_to(of_mixtures, merged.shape)
    return gains


@dataclass(frozen=True)
class Contest:
    """One target's surrogates and truth, all turned so that higher is better.

    Attributes:
        points: The target's scores, as they are.
        members: Each mixture's experts.
        gains: Surrogate to its scores. [n] each
        trained: Scores of the mixture-trained models. [n]
        again: Those of a second training seed, NaN where there is none. [n]
        similarity: How similar each dataset is to the target; None if not known.
    """

    points: Points
    members: Members
    gains: dict[str, Floats]
    trained: Floats
    again: Floats
    similarity: Mapping[str, float] | None

    @classmethod
    def of(cls, points: Points, members: Members, similarity: Mapping[str, float] | None = None) -> Contest:
        """Orient a target's scores and make its surrogates."""
        sign = 1.0 if points.higher_is_better else -1.0
        gains = surrogate_gains(sign * points.merged, members, similarity)
        return cls(points, members, gains, sign * points.trained, sign * points.again, similarity)

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """Which mixtures have at least two datasets. [n]."""
        return self.points.sizes > 1

    def without_examples(self) -> tuple[dict[str, Floats], Floats] | None:
        """Leave one group of examples out at a time: gains and truth, [G, n] each; None if not known."""
        if self.points.examples is None:
            return None
        [sides] = self.points.examples
        count = sides[0].shape[1]
        if count < 2:
            return None
        group = np.eye(min(count, _GROUPS))[np.arange(count) % _GROUPS]
        sign = 1.0 if self.points.higher_is_better else -1.0
        merged, trained = (
            sign * ((np.sum(each, axis=1, keepdims=True) - each @ group) / (count - np.sum(group, axis=0))).T
            for each in sides
        )
        return surrogate_gains(merged, self.members, self.similarity), trained
