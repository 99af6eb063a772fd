"""Is the merge itself better than training on the mixture? On test, over all mixtures, and for the pick.

OptiMer (arXiv 2603.28858) deploys merges, and says that they can be better; Merge to Mix trains its pick. A
merge can also be moved further along its way, or be where training starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.papers.experiment import Found, Place, Size
from analysis.papers.questions.ground import Ground
from analysis.papers.questions.harm import SCALES
from analysis.papers.questions.paired import more_gain, worth
from analysis.papers.subsets import SubsetTruth
from m2m.checkpoint import save
from m2m.mixture import Mixture
from m2m.pipeline.worker import Train
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part


@dataclass(frozen=True)
class Deploy:
    """The question, of a set-up whose every mixture is trained.

    Attributes:
        truth: The set-up.
        minutes: About how long it takes besides, on an idle core.
        seeds: By size, training seeds of what is made of the pick.
        name: Its name.
    """

    truth: SubsetTruth
    minutes: Mapping[Size, float]
    seeds: Mapping[Size, int]
    name: str = "question_deploy"

    @property
    def models(self) -> str:
        """The set-up's."""
        return self.truth.name

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        return [self.truth.made_from(size), self.seeds[size], list(SCALES)]

    def measure(self, place: Place, size: Size) -> Found:
        """Score merges beside trained models on test; see `Experiment.measure`."""
        ground = Ground.of(self.truth, place, size)
        grid, count = ground.grid, self.seeds[size]
        base = ground.score(ground.base, "test")
        gains = _gains(ground, base)
        picked = int(max(grid.large, key=lambda n: (np.mean(grid.merged[:, n]), -n)))
        ways = _ways_to_deploy(ground, picked, base, count)
        layers = gains["trained"]
        content = {
            "about": {"title": self.truth.title, "model": self.truth.sizes[size].model},
            "sizes": {"mixtures": len(grid.large), "targets": len(grid.targets), "seeds of the pick": count},
            "steps": ground.shop.config.train.steps,
            "truth_seeds": len(layers),
            "picked": grid.mixtures[picked].label,
            "all": {
                "merged": float(np.mean(gains["merged"])),
                "trained": float(np.mean(layers)),
                "more": worth(more_gain, gains["merged"], layers).to_json(),
                "merged_better": float(np.mean(gains["merged"] > layers.mean(0))),
                "by_mixture": [
                    {
                        "mixture": grid.mixtures[n].label,
                        "merged": float(np.mean(gains["merged"][:, at])),
                        "trained": float(np.mean(layers[:, :, at])),
                    }
                    for at, n in enumerate(grid.large)
                ],
            },
            "ways": ways,
        }
        return Found(content)


def _gains(ground: Ground, base: Floats) -> dict[str, Floats]:
    """Score all mixtures on test: gains of merges [T, n], and of trained models, a layer a seed [S, T, n]."""
    shop, grid = ground.shop, ground.grid
    mixtures = [grid.mixtures[n] for n in grid.large]
    tasks = tuple((target, "test") for target in grid.targets)
    merged = shop.merged(mixtures, shop.experts, "merges on test", tasks)
    layers = []
    for seed in range(shop.config.run.seed, shop.config.run.seed + len(ground.truth())):
        scored = []
        for at, mixture in enumerate(mixtures):
            scored.append(ground.score(ground.state(mixture, seed=seed), "test"))
            shop.progress(at + 1, len(mixtures), f"trained mixtures on test, seed {seed}")
        layers.append(np.array(scored).T)
    return {"merged": merged - base[:, None], "trained": np.stack(layers) - base[:, None]}


def _ways_to_deploy(ground: Ground, picked: int, base: Floats, count: int) -> dict[str, Any]:
    """Make every model of the pick, and hold each against training on it for as many steps as an expert."""
    shop, mixture = ground.shop, ground.grid.mixtures[picked]
    tasks = tuple((target, "test") for target in ground.grid.targets)
    own = shop.config.train
    twice, half = replace(own, steps=2 * own.steps), replace(own, steps=max(1, own.steps // 2))
    scale, scaled = _scaled(ground, mixture)
    merge = _kept(ground, mixture, 1.0)
    seeds = range(shop.config.run.seed, shop.config.run.seed + count)

    def trained(name: str, recipe: Any, start: Path | None) -> Floats:
        room = shop.models / "deploy" / name
        jobs = [Train(mixture, seed, recipe, room / f"seed{seed}", tasks) for seed in seeds]
        found = shop.train(jobs, f"the pick: {name}", start)
        return np.array([shop.values(scores, tasks) for scores in found])

    def of_folder(folder: Path) -> Floats:
        return ground.score(ground.read(folder), "test")[None]

    found = {
        "trained": trained("trained", own, None),
        "trained_twice": trained("trained_twice", twice, None),
        "merged": of_folder(merge),
        "scaled": of_folder(scaled),
        "tuned_half": trained("tuned_half", half, merge),
        "tuned": trained("tuned", own, merge),
    }
    beside = (found["trained"] - base)[:, :, None]
    told = {
        name: {
            "gain": float(np.mean(scores - base)),
            "more": worth(more_gain, (scores - base).mean(0)[:, None], beside).to_json(),
            "seeds": len(scores),
            "by_target": [float(value) for value in (scores - base).mean(0)],
        }
        for name, scores in found.items()
    }
    told["scaled"]["scale"] = scale
    return told


def _scaled(ground: Ground, mixture: Mixture) -> tuple[float, Path]:
    """Move the merge along its way to where it is best on validation."""
    weights = np.array(mixture.weights)
    rows = [[*(scale * weights), 1 - scale] for scale in SCALES]
    gains = ground.sums(rows, ground.folders(ground.shop.singles), "the pick, moved").mean(0)
    best = SCALES[int(np.argmax(gains))]
    return best, _kept(ground, mixture, best)


def _kept(ground: Ground, mixture: Mixture, scale: float) -> Path:
    """Write θ₀ + s(θ̃ − θ₀) as a checkpoint that training can begin from."""
    folder = ground.shop.models / "deploy" / f"merged-{mixture.key}-{scale:g}"
    if not folder.exists():
        save(ground.merged(mixture, scale), folder)
    return folder
