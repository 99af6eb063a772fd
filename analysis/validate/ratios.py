"""Weights on the simplex: merged and really trained models at many ratios of the same datasets.

A *line* between the first two datasets at nine ratios, as in MergeMix's study of two capabilities (arXiv
2601.17858, section 4.2), and twelve ratios of all datasets drawn evenly from the simplex, as many as its
Table 2 has full runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.validate.grid import of_ratio, over_mixtures, pooled_rank_correlation
from analysis.validate.verdict import Evidence
from analysis.validate.workshop import Workshop
from m2m.mixture import Mixture
from m2m.pipeline.worker import Merge, Train
from m2m.support.arrays import Floats

#: Ratios on the line.
LINE = tuple(tenth / 10 for tenth in range(1, 10))
#: Ratios drawn from the simplex.
DRAWN = 12


@dataclass(frozen=True)
class Ratios:
    """Scores of merged and of trained models at the same weights, higher is better.

    Attributes:
        line: Mixtures of the first two datasets. [L]
        line_merged: Scores of merged models along the line. [T, L]
        line_trained: Scores of trained models along the line. [T, L]
        drawn: Mixtures of all datasets. [R]
        drawn_merged: Scores of their merged models. [T, R]
        drawn_trained: Scores of their trained models. [T, R]
    """

    line: tuple[Mixture, ...]
    line_merged: Floats
    line_trained: Floats
    drawn: tuple[Mixture, ...]
    drawn_merged: Floats
    drawn_trained: Floats


def train_ratios(shop: Workshop) -> Ratios:
    """Merge and train at all ratios; models that lie there already are only scored.

    Args:
        shop: What trainings need.

    Returns:
        The scores.
    """
    names = shop.singles[0].datasets
    line = tuple(Mixture(names, (share, 1 - share, *(0.0 for _ in names[2:]))) for share in LINE)
    rows = np.random.default_rng(shop.config.run.seed).dirichlet(np.ones(len(names)), DRAWN)
    drawn = mixtures_of(names, rows)
    return Ratios(line, *_both(shop, line, "line"), drawn, *_both(shop, drawn, "simplex"))


def _both(shop: Workshop, mixtures: tuple[Mixture, ...], where: str) -> tuple[Floats, Floats]:
    recipe, seed = shop.config.train, shop.config.run.seed
    merged = shop.work([Merge(m, shop.experts, shop.tasks) for m in mixtures], f"merges on the {where}")
    jobs = [Train(m, seed, recipe, shop.models / "ratios" / m.key, shop.tasks) for m in mixtures]
    return merged, shop.work(jobs, f"mixtures on the {where}")


def mixtures_of(names: tuple[str, ...], rows: Floats) -> tuple[Mixture, ...]:
    """Name the points of a simplex.

    Args:
        names: The datasets. [N]
        rows: Weights, non-negative, a row summing to 1. [M, N]

    Returns:
        A mixture a row. [M]
    """
    return tuple(Mixture(names, tuple(map(float, row))) for row in rows)


def of_ratios(ratios: Ratios, seed: int) -> dict[str, Evidence]:
    """Measure whether merging weights stand for data weights.

    Args:
        ratios: The scores.
        seed: Seed of the resampling.

    Returns:
        Evidence by claim.
    """
    merged, trained = ratios.drawn_merged, ratios.drawn_trained
    bends = [
        float(np.log(roughness(curve) / roughness(truth)))
        for curve, truth in zip(ratios.line_merged, ratios.line_trained, strict=True)
        if roughness(curve) > 0 and roughness(truth) > 0
    ]
    return {
        "weights_work": over_mixtures(
            lambda chosen: pooled_rank_correlation(merged[:, chosen], trained[:, chosen]),
            len(ratios.drawn),
            seed,
            "ratios × targets",
            merged.size,
        ),
        "smoother": of_ratio(bends, "targets"),
    }


def roughness(curve: Floats) -> float:
    """Measure how far a curve is from a line locally: root mean square of its second differences.

    Args:
        curve: Scores at even distances. [L]

    Returns:
        The roughness, in the score's unit.
    """
    return float(np.sqrt(np.mean(np.diff(curve, 2) ** 2)))
