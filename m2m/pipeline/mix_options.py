"""The `[mix]` table of a run configuration: how `m2m mix` samples, fits, searches and doubts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from m2m.errors import ConfigError
from m2m.support.checked import AtLeast, Natural, Positive
from m2m.support.options import key_names
from m2m.support.schema import check_keys, check_whole

Pick = Literal["best", "argmax", "top"]

#: Beyond these a search would take days, or more memory than there is.
_MOST = {"seeds": 10**5, "folds": 10**3, "points": 10**7, "top_k": 10**7, "bootstrap": 10**5}
#: Merging weights reach its reciprocal.
_LEAST_ANCHOR = 0.01


@dataclass(frozen=True)
class MixOptions:
    """How the best mixture is looked for (MergeMix, arXiv 2601.17858, Sec. 3).

    Attributes:
        seeds: Starting mixtures: merged models that are scored before anything is fitted.
        grid: Levels of the coarse grid over the simplex: shares in steps of 1/grid. Missing: the finest
            grid of at most half of `seeds`; 0: no grid.
        priors: Mixtures believed in beforehand, by name of a dataset; each is a starting mixture, and
            `strength` pulls to the first one.
        dirichlet: Concentration of the random starting mixtures: 1 is uniform on the simplex, less goes to
            its corners.
        strength: What a unit of KL(λ‖first prior) costs, in units of the utility.
        capabilities: What the mixture should be good at: weight by target; empty: the run's target alone.
        regressor: A family of `m2m.predicting`, or `auto`.
        folds: Folds of the cross-validation.
        floors: Least shares by dataset.
        caps: Largest shares by dataset.
        repetitions: How often an example may be seen in a training run, which caps shares too; missing: any.
        points: Mixtures of the fine search before it looks closer.
        top_k: How many of the best of them are averaged.
        pick: λ*: the `best` measured of the argmax, the mean of the top k and the starting mixtures; or
            always the `argmax`; or always that mean, `top`.
        bootstrap: Resamples behind the intervals; 0: none.
        pairs: Whether a model is really trained on every pair of datasets in equal parts, and merged scores
            are corrected by what that adds.
        anchor: β: an expert trains for this share on its own data, and for the rest on all datasets in equal
            parts; given experts must have been trained so. 1: on its own alone (MergeMix); 0.5: DeMix's.
    """

    seeds: Annotated[int, AtLeast(5)] = 40
    grid: Natural | None = None
    priors: tuple[Mapping[str, float], ...] = ()
    dirichlet: float = 1.0
    strength: float = 0.0
    capabilities: Mapping[str, float] = field(default_factory=dict)
    regressor: str = "auto"
    folds: Annotated[int, AtLeast(2)] = 5
    floors: Mapping[str, float] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)
    repetitions: float | None = None
    points: Positive = 8192
    top_k: Positive = 100
    pick: Pick = "best"
    bootstrap: Natural = 100
    pairs: bool = False
    anchor: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("seeds", 5), ("folds", 2), ("points", 1), ("top_k", 1), ("bootstrap", 0)):
            check_whole(name, getattr(self, name), least)
            if getattr(self, name) > _MOST[name]:
                raise ConfigError(f"{name} may be {_MOST[name]} at most, got {getattr(self, name)}")
        if self.grid is not None:
            check_whole("grid", self.grid, 0)
        _real("dirichlet", self.dirichlet)
        _real("strength", self.strength, zero=True)
        if self.repetitions is not None:
            _real("repetitions", self.repetitions)
        for weight in self.capabilities.values():
            _real("capabilities", weight)
        if self.top_k > self.points:
            raise ConfigError(f"top_k must be at most points ({self.points}), got {self.top_k}")
        if self.pick not in get_args(Pick):
            raise ConfigError(f"pick must be one of {', '.join(get_args(Pick))}, got {self.pick!r}")
        if not isinstance(self.pairs, bool):
            raise ConfigError(f"pairs must be true or false, got {self.pairs!r}")
        _real("anchor", self.anchor)
        if not _LEAST_ANCHOR <= self.anchor <= 1:
            raise ConfigError(
                f"anchor is a share from {_LEAST_ANCHOR} (below, experts are all alike) to 1, "
                f"got {self.anchor!r}"
            )
        if self.pairs and self.anchor != 1:
            raise ConfigError("pairs correct merges of plain experts: leave pairs or anchor out")
        if not isinstance(self.regressor, str):
            raise ConfigError(f"regressor must be the name of a predictor, got {self.regressor!r}")


def read_mix_options(table: Any, where: str) -> MixOptions:
    """Read the `[mix]` table; names of datasets and targets are checked when the set-up is known."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} must be a table, got {table!r}")
    check_keys(table, key_names(MixOptions), where)
    values = dict(table)
    try:
        for name in ("capabilities", "floors", "caps"):
            _numbers(name, values.get(name, {}))
        priors = values.get("priors", [])
        if not isinstance(priors, list):
            raise ConfigError(f"priors must be a list of tables, got {priors!r}")
        for prior in priors:
            _numbers("priors", prior)
        return MixOptions(**{**values, "priors": tuple(priors)})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _numbers(name: str, table: Any) -> None:
    numbers = isinstance(table, Mapping) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in table.values()
    )
    if not numbers:
        raise ConfigError(f"{name} must give numbers by name, as in {{a = 0.5}}, got {table!r}")


def _real(name: str, value: Any, *, zero: bool = False) -> None:
    real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not real or value < 0 or (value == 0 and not zero):
        wanted = "of at least 0" if zero else "above 0"
        raise ConfigError(f"{name} must be a finite number {wanted}, got {value!r}")
