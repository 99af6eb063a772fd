"""General-purpose optimisers through Optuna: TPE, CMA-ES, Gaussian processes, a genetic algorithm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from m2m.errors import ConfigError
from m2m.mixture import MergingWeights, Mixture
from m2m.searching.objective import Ledger
from m2m.searching.scaled_simplex import Continuous, ScaledSimplex
from m2m.searching.simplex import Simplex
from m2m.searching.spaces import Subsets
from m2m.searching.strategy import Strategy
from m2m.support.extras import installing

if TYPE_CHECKING:
    import optuna

#: Asking ends when this many proposals in a row were known already, or outside the space.
PATIENCE = 50
#: The scale beside the datasets in a study: no dataset can be called so.
SCALE = "scale="


@dataclass(frozen=True)
class OptunaStudy(Strategy):
    """Ask one of Optuna's samplers what to try, and tell it the loss.

    A subset is one number a dataset, in if it is above ½. A simplex point is λ_n ∝ −log u_n with u_n uniform,
    which is uniform on the simplex before anything is learnt (Optuna's FAQ), moved into the bounds; a scale
    is one number more.

    Attributes:
        sampler: `tpe`, `cmaes`, `gp` or `genetic` (NSGA-II; Deb et al., 2002).
        storage: SQLite file that keeps the study, so that `optuna-dashboard sqlite:///FILE` shows it, also
            while the search runs; None keeps it in memory. Each search is a new study there, and does not go
            on from an earlier one.
    """

    spaces = (Subsets, Simplex, ScaledSimplex)
    ends = False

    sampler: Literal["tpe", "cmaes", "gp", "genetic"] = "tpe"
    storage: Path | None = None

    def explore(self, ledger: Ledger, space: Subsets | Continuous, random: Random) -> None:
        """Try what the sampler asks for, until it asks for nothing new."""
        study = self._study(random.randrange(2**32), len(space.datasets))
        stale = 0
        while stale < PATIENCE:
            trial = study.ask()
            mixture = _asked_for(trial, space)
            if mixture is None:
                study.tell(trial, state=_optuna().trial.TrialState.FAIL)
                stale += 1
                continue
            stale = stale + 1 if ledger.knows(mixture) else 0
            evaluation = ledger(mixture)
            trial.set_user_attr("mixture", mixture.label)
            study.tell(trial, ledger.loss(evaluation, penalised=True))

    def _study(self, seed: int, n: int) -> optuna.Study:
        api = _optuna()
        storage = None if self.storage is None else f"sqlite:///{self.storage}"
        api.logging.set_verbosity(api.logging.WARNING)
        study: optuna.Study = api.create_study(sampler=_sampler(self.sampler, seed, n), storage=storage)
        return study


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError(f"this strategy needs Optuna: {installing('search')}") from None
    return optuna


def _sampler(name: str, seed: int, n: int) -> optuna.samplers.BaseSampler:
    samplers = _optuna().samplers
    if name == "tpe":
        sampler: optuna.samplers.BaseSampler = samplers.TPESampler(seed=seed, multivariate=True)
    elif name == "genetic":
        # The library's population of 50 would spend a whole small budget on its first, random generation.
        sampler = samplers.NSGAIISampler(seed=seed, population_size=max(10, 2 * n))
    else:
        sampler = {"cmaes": samplers.CmaEsSampler, "gp": samplers.GPSampler}[name](seed=seed)
    return sampler


def _asked_for(trial: optuna.Trial, space: Subsets | Continuous) -> MergingWeights | None:
    numbers = [trial.suggest_float(name, 0.0, 1.0) for name in space.datasets]
    if isinstance(space, Continuous):
        parts = -np.log(np.clip(numbers, 1e-12, 1 - 1e-12))
        scale = trial.suggest_float(SCALE, space.low, space.high) if isinstance(space, ScaledSimplex) else 1.0
        return space.mixture(space.nearest(scale * (parts / math.fsum(parts))))
    members = [name for name, number in zip(space.datasets, numbers, strict=True) if number > 0.5]
    if not members:
        return None
    mixture = Mixture.subset(space.datasets, members)
    return mixture if mixture in space else None
