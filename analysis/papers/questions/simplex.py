"""Weighted mixtures, and corrected proxies: fidelity at ratios drawn from the simplex.

MergeMix (arXiv 2601.17858) takes merging weights for data weights. Here mixtures of any ratio are merged and
really trained, and beside the plain merge stand two that cost further trainings: Scheffé's correction, exact
where the residual is quadratic in the ratio, and experts anchored on common data, as DeMix trains them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from analysis.fidelity.surrogates import Members
from analysis.papers.corrected import ANCHOR, scheffe_rows
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.questions.anchored import anchored_experts
from analysis.papers.questions.ground import Ground
from analysis.papers.questions.paired import correlations, lead, pearson, spearman, worth
from analysis.papers.subsets import SubsetTruth
from analysis.validate.ratios import mixtures_of
from m2m.mixing.anchored import standing_for
from m2m.mixture import Mixture
from m2m.pipeline.worker import Train
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part

PLAIN = "merged"


@dataclass(frozen=True)
class Simplex:
    """The questions, of a set-up whose every subset is trained.

    Attributes:
        truth: The set-up.
        minutes: About how long it takes besides, on an idle core.
        points: By size, ratios that are drawn evenly from the simplex, and trained.
        name: Its name.
    """

    truth: SubsetTruth
    minutes: Mapping[Size, float]
    points: Mapping[Size, int]
    name: str = "question_simplex"

    @property
    def models(self) -> str:
        """The set-up's."""
        return self.truth.name

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        return [self.truth.made_from(size), self.points[size], ANCHOR]

    def measure(self, place: Place, size: Size) -> Found:
        """Merge, correct and train at every ratio; see `Experiment.measure`."""
        ground = Ground.of(self.truth, place, size)
        names = ground.shop.singles[0].datasets
        rows = np.random.default_rng(ground.shop.config.run.seed).dirichlet(
            np.ones(len(names)), self.points[size]
        )
        drawn = mixtures_of(names, rows)
        truth = _trained(ground, drawn)[None]
        scores = _surrogates(ground, drawn)
        grid, large = ground.grid, list(ground.grid.large)
        content = {
            "about": {"title": self.truth.title, "model": self.truth.sizes[size].model},
            "sizes": {"ratios": len(drawn), "targets": len(grid.targets)},
            "targets": grid.targets,
            "anchor": ANCHOR,
            "pairs": len(names) * (len(names) - 1) // 2,
            "subsets": {
                "n": len(large),
                "spearman": worth(spearman, grid.merged[:, large], ground.truth(large)[:1]).to_json(),
                "pearson": worth(pearson, grid.merged[:, large], ground.truth(large)[:1]).to_json(),
            },
            "by": {name: _told(found, scores[PLAIN], truth) for name, found in scores.items()},
            "points": [
                {"target": target, "merged": float(m), "scheffe": float(s), "trained": float(t)}
                for at, target in enumerate(grid.targets)
                for m, s, t in zip(
                    scores[PLAIN][at] - grid.base[at],
                    scores["scheffe"][at] - grid.base[at],
                    truth[0, at] - grid.base[at],
                    strict=True,
                )
            ],
        }
        return Found(content)


def _told(scores: Floats, plain: Floats, truth: Floats) -> dict[str, Any]:
    return {
        "spearman": worth(spearman, scores, truth).to_json(),
        "pearson": worth(pearson, scores, truth).to_json(),
        "spearman_lead": lead(spearman, scores, plain, truth).to_json(),
        "pearson_lead": lead(pearson, scores, plain, truth).to_json(),
        "error": float(np.sqrt(np.mean((scores - truth[0]) ** 2))),
        "pearson_by_target": [float(r) for r in correlations("pearson", scores, truth[0])],
    }


def _trained(ground: Ground, mixtures: Sequence[Mixture]) -> Floats:
    shop = ground.shop
    recipe, seed = shop.config.train, shop.config.run.seed
    jobs = [Train(m, seed, recipe, shop.models / "simplex" / m.key, shop.tasks) for m in mixtures]
    return shop.trained(jobs, "mixtures at ratios of the simplex")


def _surrogates(ground: Ground, mixtures: Sequence[Mixture]) -> dict[str, Floats]:
    """Score every proxy at every ratio. [T, M] by name."""
    grid, singles = ground.grid, ground.shop.singles
    weights = np.array([mixture.weights for mixture in mixtures])
    pairs = [m for m in grid.mixtures if len(m.members) == 2]
    models = ground.folders([*singles, *pairs])
    count = len(singles)
    plain = np.hstack([weights, np.zeros((len(weights), len(pairs) + 1))])
    corrected = np.hstack(
        [scheffe_rows(weights, list(combinations(range(count), 2))), np.zeros((len(weights), 1))]
    )
    both = ground.sums(np.vstack([plain, corrected]), models, "merges at ratios, plain and corrected")
    anchored = anchored_experts(ground)
    own = [standing_for(mixture, ANCHOR).weights for mixture in mixtures]
    experts = np.stack([grid.merged[:, n] for n in range(count)], axis=1)
    alone = np.hstack([experts, np.zeros((len(experts), len(weights)))])
    members = Members(singles[0].datasets, tuple(range(count)), np.vstack([np.eye(count), weights]))
    return {
        PLAIN: both[:, : len(weights)],
        "scheffe": both[:, len(weights) :],
        "anchored": ground.sums(own, anchored, "merges of anchored experts"),
        "weighted_mean": members.mean(alone, members.weights)[:, count:],
    }
