"""Corrected proxies of ratios: merges that all pairs correct, and experts anchored more and less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from analysis.fidelity import IntervalEstimate
from analysis.fidelity.coefficients import spearman
from analysis.fidelity.scores import Sample
from analysis.papers.capabilities import Capabilities
from analysis.papers.corrected import ANCHOR, scheffe_rows
from analysis.papers.ratio_bench import RatioBench
from analysis.papers.retrained import over_seeds
from m2m.mixing.anchored import anchors, standing_for
from m2m.mixture import Mixture
from m2m.support.arrays import Floats

#: β of the anchored experts that are compared; 1 are plain ones.
SHARES = (1.0, 0.75, 0.5, 0.25)


def pairs_of(bench: RatioBench) -> list[Mixture]:
    """Return every pair of datasets in equal parts, which Scheffé's correction has trained."""
    return [Mixture.subset(bench.datasets, pair) for pair in combinations(bench.datasets, 2)]


def corrected_scores(bench: RatioBench, mixtures: Sequence[Mixture], experts: Floats) -> dict[str, Floats]:
    """Score what costs further trainings or others, and what trainings of pairs say without a merge.

    Args:
        bench: Where.
        mixtures: The mixtures. [M]
        experts: Scores of the experts. [N, T]

    Returns:
        Scores of merges corrected by all pairs (`analysis.papers.corrected`), of merges of anchored experts,
        and of Scheffé's quadratic through the scores of experts and pairs. each [M, T]
    """
    pairs, seed = pairs_of(bench), bench.seed
    of_pairs = bench.trained(pairs, [seed], "pairs")[0]
    points = np.array([mixture.weights for mixture in mixtures])
    rows = scheffe_rows(points, list(combinations(range(points.shape[1]), 2)))
    models = [*bench.experts(seed), *(bench.models.model(pair, seed) for pair in pairs)]
    return {
        "scheffe": bench.sums(rows, models, "merges, Scheffé-corrected"),
        "anchored": anchored_scores(bench, mixtures, ANCHOR, seed),
        "quadratic": rows @ np.vstack([experts, of_pairs]),
    }


def anchored_scores(bench: RatioBench, mixtures: Sequence[Mixture], share: float, seed: int) -> Floats:
    """Score merges of experts that are anchored with this share of their own data. [M, T]."""
    experts = bench.experts(seed, anchors(bench.datasets, share))
    rows = np.array([standing_for(mixture, share).weights for mixture in mixtures])
    return bench.sums(rows, experts, f"merges of experts anchored at {share:g}, seed {seed}")


def anchored_ranks(
    bench: RatioBench, capabilities: Capabilities, seeds: Sequence[int], trained: Floats, base: Floats,
    mixtures: Sequence[Mixture],
) -> pd.DataFrame:  # fmt: skip
    """Hold merges of more and less anchored experts against the truth.

    Args:
        bench: Where.
        capabilities: The utilities.
        seeds: Training seeds of the experts.
        trained: Scores of trained models, the mean of their seeds. [M, T]
        base: Scores of the base model. [T]
        mixtures: The mixtures. [M]

    Returns:
        A row a utility, share in `SHARES` and seed: Spearman's ρ, and the error, the root mean square of
        merged less trained utilities.
    """
    rows = []
    for share, seed in product(SHARES, seeds):
        scores = anchored_scores(bench, mixtures, share, seed)
        for name in capabilities.names:
            merged, truth = (capabilities.of(name, of, base) for of in (scores, trained))
            rho = float(spearman(Sample.single(merged, truth, None), np.ones((1, len(truth))))[0])
            error = float(np.sqrt(np.mean((merged - truth) ** 2)))
            rows.append({"utility": name, "share": share, "seed": seed, "spearman": rho, "error": error})
    return pd.DataFrame(rows)


def anchors_told(ranks: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Sum `anchored_ranks` up over seeds of experts: by utility, a share after the other.

    Args:
        ranks: The table.

    Returns:
        Spearman's ρ, how far it is ahead of plain experts' of the same seeds, and the error, each with its
        interval over seeds.
    """
    told: dict[str, list[dict[str, Any]]] = {}
    for name, of_one in ranks.groupby("utility", sort=False):
        by = {
            value: of_one.pivot(index="seed", columns="share", values=value)
            for value in ("spearman", "error")
        }
        told[str(name)] = [
            {
                "share": share,
                "spearman": _kept_in(-1, 1, over_seeds(by["spearman"][share].to_numpy())).to_json(),
                "ahead": over_seeds((by["spearman"][share] - by["spearman"][1.0]).to_numpy()).to_json(),
                "error": _kept_in(0, np.inf, over_seeds(by["error"][share].to_numpy())).to_json(),
            }
            for share in SHARES
        ]
    return told


def _kept_in(least: float, most: float, found: IntervalEstimate) -> IntervalEstimate:
    """End an interval where the quantity does."""
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, least), high=min(found.high, most))
