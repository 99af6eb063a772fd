"""Why do merged models resist harm? Merge to Mix reports it of merged beside mixture-trained models.

Three things differ at once: how many steps a model was trained, how far it is from the base, and where it
lies. So the same mixtures are trained with as many steps as an expert and with as many as all experts of the
mixture together, merges are moved along their line from the base, and scores are followed from expert to
merge and from there to the model trained on the mixture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.papers.experiment import Found, Place, Size
from analysis.papers.questions.ground import Ground, distance
from analysis.papers.questions.paired import Worth, more_gain, worth
from analysis.papers.subsets import SubsetTruth
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.pipeline.worker import Train
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part

#: How far merges are moved from the base, as multiples of their own way.
SCALES = (0.5, 1.0, 1.5, 2.0)
#: Places between merge and trained model, as shares of the way.
_BETWEEN = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Harm:
    """The question, of a set-up whose every mixture is trained.

    Attributes:
        truth: The set-up.
        minutes: About how long it takes besides, on an idle core.
        largest: By size, most datasets of mixtures that are also trained as long as all their experts.
        name: Its name.
    """

    truth: SubsetTruth
    minutes: Mapping[Size, float]
    largest: Mapping[Size, int]
    name: str = "question_harm"

    @property
    def models(self) -> str:
        """The set-up's."""
        return self.truth.name

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        return [self.truth.made_from(size), self.largest[size], list(SCALES)]

    def measure(self, place: Place, size: Size) -> Found:
        """Train, move and follow; see `Experiment.measure`."""
        ground = Ground.of(self.truth, place, size)
        if ground.shop.config.train.horizon != "matched":
            raise InputError(f"{self.truth.name} trains mixtures longer than experts: wanted equal steps")
        grid = ground.grid
        long = [n for n in grid.large if grid.sizes[n] <= self.largest[size]]
        moved = _moved(ground)
        content = {
            "about": {"title": self.truth.title, "model": self.truth.sizes[size].model},
            "sizes": {"mixtures": len(grid.large), "trained long": len(long), "targets": len(grid.targets)},
            "truth_seeds": len(ground.truth()),
            "steps": ground.shop.config.train.steps,
            "kinds": moved["kinds"],
            "line": moved["line"],
            "long": _long(ground, long),
            "path": _path(ground),
        }
        return Found(content)


def harm(gains: Floats) -> float:
    """Return how far gains over the base model are below zero, mean over all of them."""
    return float(np.mean(np.maximum(0.0, -gains)))


def _avoided(own: Floats, other: Floats) -> float:
    return harm(other) - harm(own)


def _told(gains: Floats, beside: Floats, way: Floats) -> dict[str, Any]:
    """Say what some models gain and lose, and how much less than others. [T, n], [S, T, n], [n]."""
    asked: dict[str, Worth] = {"avoided": _avoided, "more_gain": more_gain}
    return {
        "harm": harm(gains),
        "gain": float(np.mean(gains)),
        "harmed": float(np.mean(gains < 0)),
        "distance": float(np.mean(way)),
        **{name: worth(of, gains, beside).to_json() for name, of in asked.items()},
    }


def _moved(ground: Ground) -> dict[str, Any]:
    """Score merges along their lines from the base: at `SCALES`, as far as trained models, and added up."""
    grid, mixtures = ground.grid, [ground.grid.mixtures[n] for n in ground.grid.large]
    way, far = _ways(ground, mixtures)
    counts = np.array([len(m.members) for m in mixtures], dtype=np.float64)
    asked = {str(scale): np.full(len(mixtures), scale) for scale in SCALES}
    asked |= {"as_far": far / way, "added": counts}
    weights = np.array([m.weights for m in mixtures])
    rows = [np.hstack([s[:, None] * weights, 1 - s[:, None]]) for s in asked.values()]
    scored = ground.sums(np.vstack(rows), ground.folders(ground.shop.singles), "moved merges")
    gains = np.split(scored - grid.base[:, None], len(asked), axis=1)
    truth = ground.truth([*grid.large]) - grid.base[:, None]
    told = {
        name: _told(found, truth, scales * way / far)
        for (name, scales), found in zip(asked.items(), gains, strict=True)
    }
    told["trained"] = _told(truth[0], truth, np.ones(len(mixtures)))
    line = [{"scale": scale, **told[str(scale)]} for scale in SCALES]
    kinds = {name: told[name] for name in ("1.0", "as_far", "added", "trained")}
    return {"kinds": {"merged": kinds.pop("1.0"), **kinds}, "line": line}


def _ways(ground: Ground, mixtures: Sequence[Mixture]) -> tuple[Floats, Floats]:
    """Return how far merged and trained models are from the base. [n] each."""
    way = [distance(ground.merged(mixture), ground.base) for mixture in mixtures]
    far = [distance(ground.state(mixture), ground.base) for mixture in mixtures]
    return np.array(way), np.array(far)


def _long(ground: Ground, numbers: Sequence[int]) -> dict[str, Any]:
    """Train mixtures with the steps of all their experts together, and hold merges against those."""
    shop, grid = ground.shop, ground.grid
    recipe, seed = replace(shop.config.train, horizon="pooled"), shop.config.run.seed
    mixtures = [grid.mixtures[n] for n in numbers]
    jobs = [Train(m, seed, recipe, shop.models / "pooled" / m.folder_name, shop.tasks) for m in mixtures]
    long = shop.trained(jobs, "mixtures with the steps of all their experts") - grid.base[:, None]
    far = np.array([distance(ground.read(job.folder), ground.base) for job in jobs])
    short = np.array([distance(ground.state(m), ground.base) for m in mixtures])
    way = np.array([distance(ground.merged(m), ground.base) for m in mixtures])
    columns = list(numbers)
    merged = grid.merged[:, columns] - grid.base[:, None]
    matched = ground.truth(columns) - grid.base[:, None]
    return {
        "mixtures": len(mixtures),
        "trained_long": _told(long, matched, far / short),
        "merged_beside_long": _told(merged, long[None], way / short),
        "merged_beside_matched": _told(merged, matched, way / short),
    }


def _path(ground: Ground) -> dict[str, Any]:
    """Follow scores from each expert of a pair to their merge, and on to the model trained on the pair."""
    grid = ground.grid
    pairs = [n for n, size in enumerate(grid.sizes) if size == 2]
    each = _on_the_way(ground, [grid.mixtures[n] for n in pairs])
    halfway, between = each[:, :, :2], each[:, :, 2:]
    merged, trained = (scores[:, pairs] - grid.base[:, None] for scores in (grid.merged, grid.trained))
    alone = {m.members: n for n, m in enumerate(grid.mixtures) if len(m.members) == 1}
    of_pairs = [[alone[(name,)] for name in grid.mixtures[n].members] for n in pairs]
    experts = grid.merged[:, of_pairs] - grid.base[:, None, None]  # [T, pairs, 2]
    # A barrier is how far the worst place lies below the straight line between the ends.
    first = (experts + merged[:, :, None]) / 2 - halfway
    shares = np.array(_BETWEEN)
    line = merged[:, :, None] * (1 - shares) + trained[:, :, None] * shares
    second = np.max(line - between, axis=2)
    curve = [experts.mean(), halfway.mean(), merged.mean(), *between.mean((0, 1)), trained.mean()]
    return {
        "pairs": len(pairs),
        "places": [0.0, 0.5, 1.0, *(1 + share for share in _BETWEEN), 2.0],
        "gain": [float(value) for value in curve],
        "barrier_expert_merge": _barrier(first.reshape(len(grid.targets), -1)),
        "barrier_merge_trained": _barrier(second),
    }


def _on_the_way(ground: Ground, mixtures: Sequence[Mixture]) -> Floats:
    """Score half way from either expert to the merge, and `_BETWEEN` merge and trained model. [T, n, 5]."""
    models = ground.folders([*ground.shop.singles, *mixtures])
    names, rows = list(models), []
    for mixture in mixtures:
        a, b = (names.index(name) for name in mixture.members)
        trained = names.index(mixture.label)
        rows += [_row(len(names), {a: 0.75, b: 0.25}), _row(len(names), {a: 0.25, b: 0.75})]
        rows += [_row(len(names), {a: (1 - t) / 2, b: (1 - t) / 2, trained: t}) for t in _BETWEEN]
    scored = ground.sums(rows, models, "places between models")
    return scored.reshape(len(scored), len(mixtures), -1) - ground.grid.base[:, None, None]


def _row(count: int, weights: Mapping[int, float]) -> list[float]:
    return [weights.get(column, 0.0) for column in range(count)]


def _barrier(found: Floats) -> dict[str, Any]:
    """Say how high barriers are: mean with its interval for other targets, and how often there is one."""

    def height(own: Floats, other: Floats) -> float:
        del other
        return float(np.mean(own))

    return {
        "mean": worth(height, found, np.zeros((1, *found.shape))).to_json(),
        "largest": float(np.max(found)),
        "share": float(np.mean(found > 0)),
    }
