"""Scores of merged models, corrected by trainings on pairs of datasets: Scheffé's quadratic on scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from m2m.errors import InputError
from m2m.support.arrays import Floats

#: A pair's residual is divided by its shares' product, so a smaller share than this only enlarges noise.
SMALLEST_SHARE = 1e-3
#: How far shares may sum from 1: as many roundings as a mixture may have datasets.
_SUM = 1e-9


def checked_points(points: Floats, datasets: int) -> Floats:
    """Return mixtures [M, N] as numbers; InputError if one is no point of the simplex of N datasets."""
    try:
        found = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"mixtures must be numbers [M, {datasets}], got {points!r:.60}") from None
    if found.ndim != 2 or found.shape[1] != datasets:
        raise InputError(f"mixtures must be [M, {datasets}], a share a dataset, got {list(found.shape)}")
    if not (np.isfinite(found).all() and (found >= 0).all() and (np.abs(found.sum(1) - 1) <= _SUM).all()):
        raise InputError("a mixture's shares must be finite, at least 0 and sum to 1")
    return found


@dataclass(frozen=True)
class PairCorrection:
    """trained − merged of every mixture, from trained − merged of each pair of datasets.

    The residual Δ(λ) = trained − merged vanishes at single datasets, whose merged model is the trained one.
    Where it is quadratic in λ it is Δ(λ) = Σ_{k<j} u_kj λ_k λ_j (Scheffé, J. Roy. Statist. Soc. B 20, 1958),
    and one training a pair fixes all of it: u_kj = Δ/(λ_k λ_j) there, 4Δ at equal shares. In weights that
    holds to leading order in the step size (docs/theory.md); in scores it is an approximation, which needs no
    weights.

    Attributes:
        datasets: The N dataset names.
        effects: u_kj of the pairs k < j in the order of `itertools.combinations`, in the score's unit; a
            column an example where residuals were given by example. [N(N − 1)/2] or [N(N − 1)/2, E]
    """

    datasets: tuple[str, ...]
    effects: Floats

    @classmethod
    def through(cls, datasets: Sequence[str], points: Floats, residuals: Floats) -> PairCorrection:
        """Take the correction that gives pairs their trained scores.

        Args:
            datasets: The N dataset names.
            points: Mixtures of two datasets each; each pair is there at least once. Several of a pair, such
                as training seeds, are averaged. [P, N]
            residuals: Trained − merged score of each, of one number or one an example. [P] or [P, E]

        Returns:
            The correction.

        Raises:
            InputError: If a mixture is no point of the simplex, has more or fewer than two datasets or a
                share below 0.001, a residual is not finite, or a pair is not there.
        """
        found: dict[tuple[int, ...], list[Floats]] = {
            pair: [] for pair in combinations(range(len(datasets)), 2)
        }
        if not found:
            raise InputError(
                f"a correction by trained pairs needs at least two datasets, got {list(datasets)}"
            )
        if len(set(datasets)) < len(datasets):
            raise InputError(f"datasets must have different names, got {list(datasets)}")
        points, residuals = checked_points(points, len(datasets)), np.asarray(residuals, dtype=np.float64)
        if residuals.ndim not in (1, 2) or len(residuals) != len(points):
            raise InputError(
                f"{len(points)} trained pairs, but residuals {list(residuals.shape)}; wanted one each"
            )
        if not np.isfinite(residuals).all():
            raise InputError("residuals of trained pairs must be finite: give only pairs with both scores")
        for point, residual in zip(points, residuals, strict=True):
            members = tuple(np.flatnonzero(point).tolist())
            if len(members) != 2:
                names = [datasets[member] for member in members]
                raise InputError(f"a trained pair has two datasets, got a mixture of {names}")
            if (smallest := point[list(members)].min()) < SMALLEST_SHARE:
                raise InputError(
                    f"a trained pair has a share of {smallest:g}: below {SMALLEST_SHARE:g} it says nothing"
                )
            found[members].append(residual / point[list(members)].prod())
        missing = [f"{datasets[k]}+{datasets[j]}" for (k, j), effects in found.items() if not effects]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(found)} pairs were not trained, such as {missing[0]}: a correction "
                f"needs them all"
            )
        return cls(tuple(datasets), np.array([np.mean(effects, 0) for effects in found.values()]))

    def at(self, points: Floats) -> Floats:
        """Return Δ [M] or [M, E], to be added to merged scores, of mixtures [M, N]; 0 at single datasets."""
        points = checked_points(points, len(self.datasets))
        first, second = np.triu_indices(len(self.datasets), 1)
        return np.asarray((points[:, first] * points[:, second]) @ self.effects)
