"""What a configuration asks of `m2m mix`, checked against its set-up before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from m2m.errors import ConfigError, InputError
from m2m.mixing.seeds import Seed, seed_mixtures
from m2m.mixing.surface import Capability
from m2m.pipeline.config import RunConfig
from m2m.predicting import families_for
from m2m.searching import Simplex, repetition_caps
from m2m.setups.protocol import Setup
from m2m.support.schema import did_you_mean


@dataclass(frozen=True)
class Problem:
    """What is looked for, and where.

    Attributes:
        capabilities: What the mixture should be good at. [C]
        space: The mixtures that are allowed.
        seeds: The mixtures to score first. [M]
    """

    capabilities: tuple[Capability, ...]
    space: Simplex
    seeds: tuple[Seed, ...]

    @classmethod
    def of(cls, config: RunConfig, setup: Setup) -> Problem:
        """Read a configuration.

        Args:
            config: The run configuration.
            setup: Its set-up.

        Returns:
            The problem.

        Raises:
            ConfigError: If a name is unknown, there are less than two datasets, or a prior is no mixture.
            MixtureError: If no mixture is allowed.
            InputError: If the seeds are too few for the regressor.
        """  # noqa: DOC502 - partly raised by what is called
        options, datasets = config.mix, list(setup.datasets)
        try:
            if len(datasets) < 2:
                raise ConfigError(f"mixing needs at least two datasets, the set-up has {datasets}")
            for prior in options.priors:
                _known("priors", prior, datasets)
            for name, bounds in (("floors", options.floors), ("caps", options.caps)):
                _known(name, bounds, datasets)
            capabilities, space = _capabilities(config, setup), _space(config, setup)
            families_for(options.regressor, options.seeds, len(datasets), options.folds)
            generator = np.random.default_rng(config.run.seed)
            return cls(capabilities, space, tuple(seed_mixtures(space, options, generator)))
        except InputError as error:
            raise type(error)(f"{config.path} [mix]: {error}") from error


def _capabilities(config: RunConfig, setup: Setup) -> tuple[Capability, ...]:
    weights = config.mix.capabilities or {config.run.target: 1.0}
    _known("capabilities", weights, setup.targets)
    metric, higher_is_better = next(iter(setup.metrics.items()))
    total = sum(weights.values())
    return tuple(
        Capability(name, weight / total, metric, higher_is_better) for name, weight in weights.items()
    )


def _space(config: RunConfig, setup: Setup) -> Simplex:
    options, datasets = config.mix, list(setup.datasets)
    caps = {name: float(share) for name, share in options.caps.items()}
    if options.repetitions is not None:
        sizes = {name: len(examples) for name, examples in setup.datasets.items()}
        drawn = config.train.steps * config.train.batch
        for name, cap in repetition_caps(sizes, drawn, options.repetitions).items():
            caps[name] = min(cap, caps.get(name, 1.0))
    for number, prior in enumerate(options.priors, start=1):
        if abs(sum(prior.values()) - 1) > 1e-6 or min(prior.values()) < 0:
            raise ConfigError(f"prior {number} must have shares that sum to 1, got {dict(prior)}")
    pull = options.priors[0] if options.priors and options.strength else None
    return Simplex(datasets, options.floors, caps, pull, options.strength)


def _known(key: str, names: Iterable[str], known: Iterable[str]) -> None:
    there = list(known)
    for name in names:
        if name not in there:
            raise ConfigError(f"{key}: there is no {name!r}{did_you_mean(name, there)}; there are {there}")
