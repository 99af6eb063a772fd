"""A ratio that was found on a smaller model, used on a larger one (figure 6a of arXiv 2601.17858).

Both sizes search by merging, on the same data with the same recipe. The larger model is trained on what each
search found. Ratios that both were really trained on say whether that can work: by how alike they rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.papers.cost import cost_of_search
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.ratio_choices import MERGEMIX, TRIALS, without_surfaces
from analysis.papers.ratio_fidelity import MERGED, ranks
from analysis.papers.ratio_search import RatioSearch
from analysis.papers.ratios import RatioTruth
from m2m.mixture import Mixture
from m2m.setups.protocol import trainable
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part

#: Ways that look at the smaller model alone: its merges, its really trained ratios, its experts.
SMALLER, SMALLER_TRIALS, SMALLER_MEMBER = "smaller", "smaller_trials", "smaller_member"


@dataclass(frozen=True)
class Transfer:
    """The experiment.

    Attributes:
        larger: The experiment of the larger model, whose search, drawn ratios and trainings are used.
        smaller: The same of the smaller model, of which only search and drawn ratios are done.
        minutes: About how long it takes besides, by size.
        name: Its name.
    """

    larger: RatioTruth
    smaller: RatioTruth
    minutes: Mapping[Size, float]
    name: str = "mergemix_transfer"

    @property
    def models(self) -> str:
        """The larger model's."""
        return self.larger.name

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        return [self.larger.made_from(size), self.smaller.made_from(size)]

    def measure(self, place: Place, size: Size) -> Found:
        """Search with both models, and train the larger one; see `Experiment.measure`."""
        larger, smaller = self.larger.run(place, size), self.smaller.run(place, size)
        truths = self.larger.truth(larger), self.smaller.truth(smaller)
        chosen = _chosen(larger, smaller, *truths)
        recipe = larger.bench.recipe
        content = {
            "about": {
                "larger": larger.sized.model,
                "smaller": smaller.sized.model,
                "data": larger.sized.data,
            },
            "sizes": {
                "steps": recipe.steps,
                "batch": recipe.batch,
                "starting_mixtures": len(larger.starts),
                "trained_ratios": len(larger.drawn),
                "truth_seeds": self.larger.truth_seeds,
                "fresh_seeds": self.larger.fresh_seeds,
            },
            "datasets": list(larger.bench.datasets),
            "capabilities": {name: list(targets) for name, targets in larger.outline.groups.items()},
            "parameters": {"larger": _trained_parameters(larger), "smaller": _trained_parameters(smaller)},
            "choice": self.larger.judge(larger, list(chosen.values())).says(chosen, MERGEMIX),
            "fidelity": _agreement(larger, smaller, *truths),
            "cost": _cost(larger, smaller),
        }
        return Found(content)


def _chosen(
    larger: RatioSearch, smaller: RatioSearch, trained_larger: Floats, trained_smaller: Floats
) -> dict[str, Mixture]:
    points = np.array([mixture.weights for mixture in larger.drawn])
    own = without_surfaces(larger, points, trained_larger[0])
    other = without_surfaces(smaller, points, trained_smaller[0])
    return {
        **{way: own[way] for way in ("uniform", "best_member", "prior", "best_of_trials")},
        MERGEMIX: larger.found,
        SMALLER: smaller.found,
        SMALLER_TRIALS: other["best_of_trials"],
        SMALLER_MEMBER: other["best_member"],
    }


def _agreement(
    larger: RatioSearch, smaller: RatioSearch, trained_larger: Floats, trained_smaller: Floats
) -> dict[str, Any]:
    """Compare how both models rank the drawn ratios, with the larger one's truth, by utility."""
    by_merging = {
        name: search.bench.merged(search.drawn, search.bench.experts(search.bench.seed), "merged ratios")
        for name, search in (("larger", larger), ("smaller", smaller))
    }

    def utility(search: RatioSearch, name: str, scores: Floats) -> Floats:
        return search.capabilities.of(name, scores, search.base)

    return {
        name: ranks(
            {
                MERGED: utility(larger, name, by_merging["larger"]),
                "smaller_merged": utility(smaller, name, by_merging["smaller"]),
                "smaller_trained": utility(smaller, name, trained_smaller).mean(0),
            },
            utility(larger, name, trained_larger),
            larger.bench.seed,
        )
        for name in larger.capabilities.names
    }


def _trained_parameters(search: RatioSearch) -> int:
    return sum(parameter.numel() for parameter in trainable(search.bench.targets.setup.build()).values())


def _cost(larger: RatioSearch, smaller: RatioSearch) -> dict[str, Any]:
    """Count forwards until a ratio is chosen, by model and way; what is chosen by nothing costs none."""
    experts = len(larger.bench.datasets)
    of_larger = cost_of_search(
        larger.bench,
        {
            MERGEMIX: (experts, len(larger.result.candidates)),
            "best_member": (experts, experts),
            "best_of_trials": (TRIALS, TRIALS),
        },
    )
    of_smaller = cost_of_search(
        smaller.bench,
        {
            SMALLER: (experts, len(smaller.result.candidates)),
            SMALLER_MEMBER: (experts, experts),
            SMALLER_TRIALS: (TRIALS, TRIALS),
        },
    )
    return {"larger": of_larger, "smaller": of_smaller}
