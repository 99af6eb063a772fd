"""Do other merge rules select better than the mean? Every subset merged by each, beside the same truth.

DeMix (arXiv 2602.00747) finds that none does: plain averages correlate best with its trained mixtures.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.fidelity.surrogates import Members
from analysis.papers.corrected import ANCHOR
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.questions.anchored import anchored_experts
from analysis.papers.questions.ground import Ground
from analysis.papers.questions.paired import (
    correlations,
    lead,
    pearson,
    regret,
    regret_of_pairs,
    spearman,
    worth,
)
from analysis.papers.subsets import SubsetTruth
from m2m import merge
from m2m.checkpoint import save
from m2m.mixture import Mixture
from m2m.setups.protocol import load_state, trainable
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part
from m2m.support.devices import one_thread

#: What every rule is held against.
MEAN = "mean"
#: Examples of its own data from which an expert's diagonal Fisher information is estimated.
FISHER_EXAMPLES = 64


@dataclass(frozen=True)
class Rule:
    """One way to merge.

    Attributes:
        name: Its name in results.
        words: In words.
        method: The merge method of m2m.
        weight: What each of |S| experts weighs, from |S|; None: the method takes none.
        settings: Parameters of the recipe.
        least: Fewest datasets of a mixture that it is asked about.
    """

    name: str
    words: str
    method: str
    weight: Callable[[int], float] | None
    settings: Mapping[str, Any]
    least: int = 2


def _equal(count: int) -> float:
    return 1 / count


def _one(count: int) -> float:
    del count
    return 1.0


RULES = (
    Rule("task_arithmetic_half", "task arithmetic, λ = 0.5", "task_arithmetic", _one, {"lambda": 0.5}),
    Rule("task_arithmetic", "task arithmetic, λ = 1", "task_arithmetic", _one, {}),
    Rule("ties", "TIES, a fifth kept", "ties", _one, {"density": 0.2}),
    Rule("dare", "DARE, half kept", "dare_linear", _equal, {"density": 0.5}),
    Rule("della", "DELLA, half kept", "della_linear", _equal, {"density": 0.5}),
    Rule("slerp", "Multi-SLERP", "multislerp", _equal, {}),
    Rule("karcher", "Karcher mean", "karcher", None, {}),
    Rule("model_stock", "Model Stock", "model_stock", None, {}),
    Rule("fisher", "Fisher-weighted", "fisher", _equal, {}),
    Rule("consensus", "consensus (TALL masks), λ = 0.5", "consensus", None, {"lambda": 0.5}),
    Rule("anchored", "anchored experts, β = 0.5", "anchored", None, {"anchor": ANCHOR, "extrapolate": True}),
    Rule("scheffe", "Scheffé-corrected (trains every pair)", "scheffe", None, {}, least=3),
)


@dataclass(frozen=True)
class RulesSelect:
    """The question, of a set-up whose every mixture is trained.

    Attributes:
        truth: The set-up.
        minutes: About how long it takes besides, on an idle core.
        rules: What is held against the mean.
        name: Its name.
    """

    truth: SubsetTruth
    minutes: Mapping[Size, float]
    rules: Sequence[Rule] = RULES
    name: str = "question_rules"

    @property
    def models(self) -> str:
        """The set-up's."""
        return self.truth.name

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        told = [[r.name, r.method, sorted(r.settings.items()), r.least] for r in self.rules]
        return [self.truth.made_from(size), repr(told), FISHER_EXAMPLES, ANCHOR]

    def measure(self, place: Place, size: Size) -> Found:
        """Merge every subset by every rule, and compare; see `Experiment.measure`."""
        ground = Ground.of(self.truth, place, size)
        forge = _Forge.of(ground)
        found = {rule.name: _compared(ground, rule, forge.scores(rule)) for rule in self.rules}
        free = {name: _of(ground, *pair) for name, pair in _free(ground).items()}
        grid = ground.grid
        content = {
            "about": {"title": self.truth.title, "model": self.truth.sizes[size].model},
            "sizes": {"mixtures": len(grid.large), "targets": len(grid.targets), "rules": len(self.rules)},
            "targets": grid.targets,
            "truth_seeds": len(ground.truth()),
            MEAN: _of(ground, "mean (linear)", grid.merged),
            "rules": found,
            "free": free,
        }
        return Found(content)


@dataclass(frozen=True)
class _Forge:
    """Merges subsets of a run's experts by any rule, in a folder that is used again for each."""

    ground: Ground
    fishers: Mapping[str, Path]
    anchored: Mapping[str, Path]

    @classmethod
    def of(cls, ground: Ground) -> _Forge:
        return cls(ground, _fishers(ground), anchored_experts(ground))

    def scores(self, rule: Rule) -> Floats:
        """Merge and score every mixture that the rule is for; others keep the mean's scores. [T, M]."""
        grid, out = self.ground.grid, self.ground.grid.merged.copy()
        asked = [n for n, size in enumerate(grid.sizes) if size >= rule.least]
        for done, number in enumerate(asked):
            out[:, number] = self.ground.score(self._merged(rule, grid.mixtures[number]))
            self.ground.shop.progress(done + 1, len(asked), f"merges by {rule.name}")
        return out

    def _merged(self, rule: Rule, mixture: Mixture) -> dict[str, torch.Tensor]:
        folder = self.ground.shop.models / "merged"
        shutil.rmtree(folder, ignore_errors=True)
        base = self.ground.shop.folder.base
        recipe = {
            "merge_method": rule.method,
            "base_model": str(base),
            "models": self._models(rule, mixture),
            "parameters": dict(rule.settings),
            "dtype": "float32",
        }
        merge(recipe, folder, threads=1)
        return self.ground.read(folder)

    def _models(self, rule: Rule, mixture: Mixture) -> list[dict[str, Any]]:
        if rule.method == "scheffe":
            return self._of_scheffe(mixture)
        count = len(mixture.datasets)
        if rule.method == "anchored":
            return [
                {"model": str(self.anchored[name]), "parameters": {"weight": share, "shared": 1 / count}}
                for name, share in mixture.shares.items()
            ]
        models = []
        for name in mixture.members:
            folder = self._folder(mixture.datasets, [name])
            settings: dict[str, Any] = {}
            if rule.weight is not None:
                settings["weight"] = rule.weight(len(mixture.members))
            if rule.method == "fisher":
                settings["fisher"] = str(self.fishers[name])
            models.append({"model": str(folder)} | ({"parameters": settings} if settings else {}))
        return models

    def _of_scheffe(self, mixture: Mixture) -> list[dict[str, Any]]:
        names, datasets = mixture.members, mixture.datasets
        experts = [
            {
                "model": str(self._folder(datasets, [name])),
                "parameters": {"datasets": name, "weight": mixture.shares[name]},
            }
            for name in names
        ]
        pairs = [(a, b) for at, a in enumerate(names) for b in names[at + 1 :]]
        return experts + [
            {"model": str(self._folder(datasets, pair)), "parameters": {"datasets": "+".join(pair)}}
            for pair in pairs
        ]

    def _folder(self, datasets: Sequence[str], members: Sequence[str]) -> Path:
        shop = self.ground.shop
        return shop.folder.model(Mixture.subset(datasets, members), shop.config.run.seed)


def _fishers(ground: Ground) -> dict[str, Path]:
    """Estimate every expert's diagonal Fisher information at its own data: mean squares of gradients."""
    shop, found = ground.shop, {}
    for single in shop.singles:
        [name] = single.members
        folder = shop.models / "fisher" / name
        if not folder.exists():
            save(_fisher(ground, ground.state(single), name), folder)
        found[name] = folder / "model.safetensors"
    return found


def _fisher(ground: Ground, state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    # The empirical one: gradients of the loss at the data's own labels, one example at a time.
    setup, data = ground.setup, ground.setup.datasets[name]
    count = min(FISHER_EXAMPLES, len(data))
    total = {key: torch.zeros_like(tensor) for key, tensor in state.items() if tensor.is_floating_point()}
    with one_thread():
        model = load_state(setup.build(), state)
        model.eval()
        for row in torch.arange(count) * len(data) // count:
            model.zero_grad()
            loss = setup.loss(model, data.take(row[None])).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            for key, parameter in trainable(model).items():
                if parameter.grad is not None:
                    total[key] += parameter.grad**2 / count
    return total


def _compared(ground: Ground, rule: Rule, scores: Floats) -> dict[str, Any]:
    """Hold a rule against the mean over the mixtures that it is for; choices are among all mixtures."""
    grid = ground.grid
    rows = [n for n, size in enumerate(grid.sizes) if size >= rule.least]
    truth, own, mean = ground.truth(rows), scores[:, rows], grid.merged[:, rows]
    seeds = range(len(truth))
    leads = np.mean(
        [correlations("spearman", own, truth[s]) - correlations("spearman", mean, truth[s]) for s in seeds],
        axis=0,
    )
    choices: dict[str, Any] = {}
    if rule.least == 2:
        every = ground.truth()
        choices = {
            "regret_lead": lead(regret, scores, grid.merged, every).to_json(),
            "pairs_regret_lead": lead(regret_of_pairs, scores, grid.merged, every).to_json(),
        }
    return {
        **_of(ground, rule.words, scores, rule.least),
        "spearman_lead": lead(spearman, own, mean, truth).to_json(),
        "pearson_lead": lead(pearson, own, mean, truth).to_json(),
        "spearman_leads": [float(value) for value in leads],
        **choices,
    }


def _of(ground: Ground, words: str, scores: Floats, least: int = 2) -> dict[str, Any]:
    rows = [n for n, size in enumerate(ground.grid.sizes) if size >= least]
    truth, every = ground.truth(rows), ground.truth()
    found: dict[str, Any] = {
        "words": words,
        "mixtures": len(rows),
        "spearman": worth(spearman, scores[:, rows], truth).to_json(),
        "pearson": worth(pearson, scores[:, rows], truth).to_json(),
    }
    if least == 2:
        found["regret"] = worth(regret, scores, every).to_json()
        found["pairs_regret"] = worth(regret_of_pairs, scores, every).to_json()
    return found


def _free(ground: Ground) -> dict[str, tuple[str, Floats]]:
    """Return what the experts' own scores say without a merge: words and scores [T, M] by name."""
    grid = ground.grid
    weights = np.array([mixture.weights for mixture in grid.mixtures])
    names = grid.mixtures[0].datasets
    rows = tuple(next(n for n, m in enumerate(grid.mixtures) if m.members == (name,)) for name in names)
    members = Members(names, rows, weights)
    return {
        "best_member": ("best member's expert (no merge)", members.best(grid.merged)),
        "mean_of_members": ("mean of the members' experts (no merge)", members.mean(grid.merged, weights)),
    }
