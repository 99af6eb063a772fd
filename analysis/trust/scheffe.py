"""Scheffé's quadratic on scores: all pairs trained say what training adds to every other mixture."""

from __future__ import annotations

import numpy as np

from analysis.trust.landscape import Landscape
from m2m.errors import InputError
from m2m.predicting import PairCorrection
from m2m.support.arrays import Floats


def scheffe(landscape: Landscape) -> Floats:
    """Predict every mixture's trained score from its merged one and what training adds to pairs.

    To second order the residual of merging is Σ_{k<j} λ_kλ_j u_kj (`analysis.interaction` has it in weights),
    so trained − merged scores are too as far as the score is linear over it.

    Args:
        landscape: The scores, with a trained mixture of every pair of datasets.

    Returns:
        Merged score plus prediction; for equal pairs and single datasets what was measured. [C]

    Raises:
        InputError: If a pair of datasets was not trained; it is named.
    """
    rows, gains = landscape.trainings
    pairs = np.sum(landscape.weights[rows] > 0, axis=1) == 2
    datasets = landscape.mixtures[0].datasets
    try:
        correction = PairCorrection.through(datasets, landscape.weights[rows[pairs]], gains[pairs])
    except InputError as error:
        raise InputError(f"target {landscape.target!r}: {error}") from None
    return landscape.merged + correction.at(landscape.weights)
