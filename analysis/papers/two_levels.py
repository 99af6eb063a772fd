"""Ratios on two levels, top-down: between groups of datasets first, then within each (MergeMix, Sec. 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.papers.capabilities import OVERALL, Capabilities
from analysis.papers.ratio_bench import RatioBench
from analysis.papers.surfaces import SMOOTH, Surfaces
from m2m.mixture import Mixture, weight_matrix
from m2m.searching import Simplex
from m2m.support.arrays import Floats

#: Merged models of the groups' experts, at even distances.
COARSE = 21
#: Merged models that a ratio within groups is fitted to, as many as on one level; and those looked at then.
STARTS, FINE = 40, 20_000


def two_levels(
    bench: RatioBench,
    capabilities: Capabilities,
    base: Floats,
    groups: Sequence[Sequence[str]],
    prior: Mapping[str, float],
) -> dict[str, Mixture]:
    """Choose between two groups and within them, each by hand, evenly or by merging.

    A group's expert is trained on the group in the prior's ratio.

    Args:
        bench: Where.
        capabilities: The utilities.
        base: Scores of the base model. [T]
        groups: The two groups of datasets.
        prior: A ratio written down before anything was trained.

    Returns:
        A mixture by `COARSE WAY, FINE WAY`, as the rows of MergeMix's Table 3.
    """
    names, space = bench.datasets, Simplex(bench.datasets)
    given = np.array([prior[name] for name in names])
    has = np.array([[float(name in group) for name in names] for group in groups])
    evenly = has / has.sum(1, keepdims=True)
    of_groups = by_the_prior(names, groups, prior)
    by_hand = np.array(weight_matrix(of_groups))
    coarse = _coarse(bench, capabilities, base, of_groups)
    generator = np.random.default_rng(bench.seed)
    # Within each group shares are drawn evenly from its simplex.
    drawn = generator.exponential(size=(FINE, 1, len(names))) * has
    points = np.einsum("g,mgn->mn", coarse, drawn / drawn.sum(2, keepdims=True))
    starts = [space.mixture(point) for point in points[:STARTS]]
    scores = bench.merged(starts, bench.experts(bench.seed), "merges within groups")
    weights = np.array([start.weights for start in starts])
    surface = Surfaces.fitted(SMOOTH, weights, scores, capabilities, base, bench.seed)
    best = points[int(np.argmax(surface.utility(OVERALL, points)))]
    return {
        "manual, manual": space.mixture(given),
        "mergemix, uniform": space.mixture(coarse @ evenly),
        "mergemix, manual": space.mixture(coarse @ by_hand),
        "mergemix, mergemix": space.mixture(best),
    }


def by_the_prior(
    names: Sequence[str], groups: Sequence[Sequence[str]], prior: Mapping[str, float]
) -> list[Mixture]:
    """Return each group in the prior's ratio."""
    return [
        Mixture.normalised({name: prior[name] if name in group else 0.0 for name in names})
        for group in groups
    ]


def _coarse(bench: RatioBench, capabilities: Capabilities, base: Floats, groups: Sequence[Mixture]) -> Floats:
    """Return the groups' shares of the best merge of their experts. [2]."""
    share = np.linspace(0, 1, COARSE)
    shares = np.column_stack([share, 1 - share])
    merges = [Mixture(("first", "second"), (float(one), float(other))) for one, other in shares]
    scores = bench.merged(merges, bench.experts(bench.seed, groups), "merges of two groups")
    best: Floats = shares[int(np.argmax(capabilities.of(OVERALL, scores, base)))]
    return best
