"""Error-bound analyses, which neither paper has: the residual of merging measured, predicted and bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.error_bound import SweepPoint
from analysis.error_bound import study as bounds
from analysis.fidelity import IntervalEstimate
from analysis.interaction import study as residuals
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.retrained import over_seeds
from analysis.papers.subsets import SubsetTruth
from analysis.papers.sweeps import Sweep, swept
from analysis.trained_run import open_run
from m2m.support.content_keys import Part
from m2m.support.progress import say

#: Steps η‖H‖ up to which the exponent is read: beyond, orders of ηT‖H‖ that theory leaves out count.
SMALL = 1 / 8


@dataclass(frozen=True)
class Reach:
    """How much is studied at one size.

    Attributes:
        mixtures: Mixtures that are swept over step sizes and horizons, by label.
        examples: Examples of a dataset in the sweeps, every one of them in every step.
        wider: Examples of a dataset where the run's own residuals are predicted.
        minutes: About how long it takes besides the run, on an idle core.
    """

    mixtures: Sequence[str]
    examples: int
    wider: int
    minutes: float


@dataclass(frozen=True)
class ErrorBound:
    """The analyses, of a set-up whose every mixture is trained.

    Attributes:
        truth: The set-up.
        target: The target whose loss is looked at.
        reach: By size, how much is studied.
        anchor: β of the anchored experts.
        name: Its name.
    """

    truth: SubsetTruth
    target: str
    reach: Mapping[Size, Reach]
    anchor: float = 0.5
    name: str = "error_bound"

    @property
    def models(self) -> str:
        """The set-up's."""
        return self.truth.name

    @property
    def minutes(self) -> dict[Size, float]:
        """About how long it takes, by size."""
        return {size: reach.minutes for size, reach in self.reach.items()}

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        return [self.truth.made_from(size), self.target, repr(self.reach[size]), self.anchor]

    def measure(self, place: Place, size: Size) -> Found:
        """Sweep, and study the run's own residuals; see `Experiment.measure`."""
        reach = self.reach[size]
        _, folder = self.truth.run(place, size)
        sweeps = [Sweep(folder.root, reach.examples, label, self.target) for label in reach.mixtures]
        found = swept(sweeps, place.executor, place.progress)
        say(place.progress, ["residuals of the run's own mixtures"])
        wide = open_run(folder.root, reach.wider, float64=False)
        own = residuals.of_run(wide, self.target, anchored=self.anchor)
        tables = [bounds.to_tables(one)[""].assign(mixture=one.ingredients.mixture.label) for one in found]
        content = {
            "about": {"title": self.truth.title, "model": self.truth.sizes[size].model},
            "sizes": {
                "mixtures swept": len(found),
                "examples of a dataset": reach.examples,
                "mixtures of the run": len(own.residuals),
            },
            "sharp": SMALL,
            "optimizer": wide.recipe.optimizer,
            "exponents": _exponents(found),
            "bounds": _bounds(found),
            "own": _own(own),
        }
        return Found(content, {"sweep": pd.concat(tables), "residuals": residuals.to_tables(own)[""]})


def _exponents(swept: Sequence[bounds.BoundStudy]) -> dict[str, Any]:
    """Fit the power of η and of T(T − 1) in ‖Δ‖ to every mixture's small steps."""

    def small(one: bounds.BoundStudy) -> list[SweepPoint]:
        return [p for p in one.by_rate if p.recipe.learning_rate * one.sharpness <= SMALL]

    rate: Callable[[Any], float] = lambda point: point.recipe.learning_rate  # noqa: E731
    return {
        "rate": _slope([(small(one), rate) for one in swept]).to_json(),
        "horizon": _slope(
            [(one.by_horizon, lambda p: p.recipe.steps * (p.recipe.steps - 1)) for one in swept]
        ).to_json(),
        "own": _slope([(one.own, rate) for one in swept]).to_json(),
    }


def _slope(fitted: Sequence[tuple[Sequence[Any], Callable[[Any], float]]]) -> IntervalEstimate:
    slopes = [
        np.polyfit(
            np.log([of(point) for point in points]),
            np.log([point.agreement.measured for point in points]),
            1,
        )[0]
        for points, of in fitted
    ]
    return over_mixtures(slopes)


def over_mixtures(values: Sequence[float]) -> IntervalEstimate:
    """Return the mean with Student's interval for other mixtures, as if these shared no dataset. [n]."""
    found = asdict(over_seeds(np.array(values)))
    return IntervalEstimate(**found | {"method": "Student's t over mixtures", "intervals": ()})


def _bounds(swept: Sequence[bounds.BoundStudy]) -> dict[str, Any]:
    points = [p for one in swept for p in (*one.by_rate, *one.by_horizon) if p.bound is not None]
    ratios = [p.bound.total / p.agreement.measured for p in points if p.bound is not None]
    return {
        "count": len(points),
        "hold": sum(bool(point.holds) for point in points),
        "inform": sum(bool(point.informative) for point in points),
        "smallest_ratio": float(min(ratios)),
        "median_ratio": float(np.median(ratios)),
    }


def _own(study: residuals.InteractionStudy) -> dict[str, Any]:
    """Say what is left of the run's own residuals, plain, corrected and with anchored experts."""
    corrected = [row.corrected for row in study.residuals if row.corrected is not None]
    cosines = [row.agreement.cosine for row in study.residuals if row.agreement.cosine is not None]
    return {
        "relative": over_mixtures([row.relative for row in study.residuals]).to_json(),
        "cosine": over_mixtures(cosines).to_json(),
        "corrected": over_mixtures(corrected).to_json(),
        "corrected_n": len(corrected),
        "anchored": None if study.anchored is None else asdict(study.anchored),
        "outside_theory": list(study.outside),
    }
