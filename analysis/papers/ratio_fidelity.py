"""How well merged models rank ratios of datasets: on the simplex, and on the line between two datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.fidelity import IntervalEstimate
from analysis.fidelity.coefficients import spearman
from analysis.fidelity.correlation import correlation
from analysis.fidelity.intervals import AS_IT_IS, mixture_jackknife
from analysis.fidelity.scores import Sample
from analysis.papers.capabilities import Capabilities
from analysis.papers.ratio_bench import RatioBench
from analysis.papers.retrained import over_seeds
from m2m.mixture import Mixture
from m2m.support.arrays import Floats

#: What merging must beat and costs nothing: the experts' scores by weight, and that of the heaviest's expert.
#: Every drawn ratio has all datasets, so the best of its members is the same for all.
MERGED, FREE = "merged", ("weighted_mean", "heaviest_member")
#: Ratios on the line, as in MergeMix's study of two capabilities (arXiv 2601.17858, Sec. 4.2).
LINE = tuple(tenth / 10 for tenth in range(1, 10))


def free_scores(points: Floats, experts: Floats) -> dict[str, Floats]:
    """Score mixtures [M, N] by their experts' scores [N, T] alone, by name in `FREE`. each [M, T]."""
    return {"weighted_mean": points @ experts, "heaviest_member": experts[np.argmax(points, axis=1)]}


def ranking(
    capabilities: Capabilities,
    surrogates: Mapping[str, Floats],
    trained: Floats,
    base: Floats,
    seed: int,
) -> dict[str, Any]:
    """Compare ranks of surrogates with those of really trained models, by capability.

    Args:
        capabilities: The utilities.
        surrogates: Scores of each surrogate, `MERGED` among them. each [M, T]
        trained: Scores of trained models by seed; ranks are those of their mean. [S, M, T]
        base: Scores of the base model. [T]
        seed: Seed of permutations.

    Returns:
        By utility: Spearman's ρ of every surrogate, by how much merging is ahead of each, and the agreement
        of two training seeds.
    """
    return {
        name: ranks(
            {key: capabilities.of(name, scores, base) for key, scores in surrogates.items()},
            capabilities.of(name, trained, base),
            seed,
        )
        for name in capabilities.names
    }


def ranks(surrogates: Mapping[str, Floats], trained: Floats, seed: int) -> dict[str, Any]:
    """Compare ranks of surrogates with those of really trained models in one utility.

    Args:
        surrogates: Utilities of mixtures by surrogate, `MERGED` among them. each [M]
        trained: Those of trained models, a row a training seed. [S, M]
        seed: Seed of permutations.

    Returns:
        What `ranking` says of one utility.
    """
    truth = trained.mean(0)
    samples = {name: Sample.single(scores, truth, None) for name, scores in surrogates.items()}
    seeds = [_spearman(Sample.single(trained[0], other, None), seed) for other in trained[1:2]]
    return {
        "spearman": {name: _spearman(sample, seed) for name, sample in samples.items()},
        "lead": {
            name: _lead(samples[MERGED], sample).to_json()
            for name, sample in samples.items()
            if name != MERGED
        },
        "seeds": seeds[0] if seeds else None,
    }


def _spearman(sample: Sample, seed: int) -> dict[str, Any]:
    return correlation("spearman", sample, seed).to_json()


def _lead(merged: Sample, other: Sample) -> IntervalEstimate:
    """Return ρ of merging less ρ of another surrogate, on the same mixtures."""

    def lead(sample: Sample, counts: Floats) -> Floats:
        return spearman(sample, counts) - spearman(other, counts)

    value = float(lead(merged, np.ones((1, merged.n)))[0])
    if np.isnan(value):
        return IntervalEstimate.missing(merged.n, "a surrogate is the same for all mixtures")
    return IntervalEstimate.of(value, merged.n, (mixture_jackknife(lead, merged, AS_IT_IS),))


def on_the_line(bench: RatioBench, ends: tuple[str, str]) -> list[Mixture]:
    """Return the mixtures of two datasets at the ratios of `LINE`, which are the first one's shares."""
    rows = [
        [{ends[0]: share, ends[1]: 1 - share}.get(name, 0.0) for name in bench.datasets] for share in LINE
    ]
    return bench.mixtures(np.array(rows))


def line_curves(
    bench: RatioBench, capabilities: Capabilities, ends: tuple[str, str], seeds: int, base: Floats
) -> pd.DataFrame:
    """Merge and train along the line between two datasets with some seeds.

    Args:
        bench: Where.
        capabilities: The utilities.
        ends: The two datasets; the share is the first one's.
        seeds: Training seeds, of experts and of mixtures alike.
        base: Scores of the base model. [T]

    Returns:
        A row a utility, share and side (`merged`, `trained`): the mean over seeds with its interval.
    """
    mixtures = on_the_line(bench, ends)
    numbers = range(bench.seed, bench.seed + seeds)
    merged = [bench.merged(mixtures, bench.experts(seed), "merges on the line") for seed in numbers]
    trained = bench.trained(mixtures, numbers, "mixtures on the line")
    return pd.DataFrame(
        [
            {
                "utility": name,
                "share": share,
                "side": side,
                "value": one.value,
                "low": one.low,
                "high": one.high,
            }
            for name in capabilities.names
            for side, scores in ((MERGED, np.array(merged)), ("trained", trained))
            for share, one in zip(LINE, map(over_seeds, capabilities.of(name, scores, base).T), strict=True)
        ]
    )
