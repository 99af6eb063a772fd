"""What a configuration asks of `m2m mix`: targets, allowed mixtures, and those to score first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from math import comb

import numpy as np

from m2m.errors import ConfigError, InputError, MixtureError
from m2m.mixing.surface import WeightedTarget
from m2m.mixture import Mixture
from m2m.pipeline.config import RunConfig
from m2m.pipeline.mix_options import MixOptions
from m2m.predicting import families_for
from m2m.scoring import Scorer, Targets
from m2m.searching import Simplex, repetition_caps
from m2m.searching.simplex_optimum import distinct
from m2m.setups.protocol import Setup
from m2m.support.arrays import Floats
from m2m.support.schema import did_you_mean

#: Draws a missing mixture, after which the bounds are said to leave too little room.
PATIENCE = 10


@dataclass(frozen=True)
class StartingMixture:
    """A mixture that is scored before anything is fitted; its kind is `equal`, `prior`, `grid` or `drawn`."""

    kind: str
    mixture: Mixture


@dataclass(frozen=True)
class Problem:
    """What is looked for, where, and which mixtures are scored first."""

    targets: tuple[WeightedTarget, ...]
    space: Simplex
    starts: tuple[StartingMixture, ...]

    @classmethod
    def of(cls, config: RunConfig, targets: Targets) -> Problem:
        """Read a configuration; what is wrong with it is said with the file's name."""
        options, datasets = config.mix, list(targets.setup.datasets)
        try:
            if len(datasets) < 2:
                raise ConfigError(f"mixing needs at least two datasets, the set-up has {datasets}")
            if options.anchor != 1 and config.experts:
                raise ConfigError(
                    "anchor says how experts are trained, and [train] names experts that are there: leave "
                    "one of both out, or give anchored experts to `m2m mix --experts`"
                )
            caps = _caps(config, targets.setup)
            return cls._found(_weighted(config, targets), datasets, options, caps, config.run.seed)
        except InputError as error:
            raise type(error)(f"{config.path} [mix]: {error}") from error

    @classmethod
    def of_experts(
        cls, datasets: Sequence[str], scorers: Sequence[Scorer], options: MixOptions, seed: int
    ) -> Problem:
        """Read options for experts that are there: `capabilities` name tasks; without, all count the same."""
        if len(datasets) < 2:
            raise ConfigError(f"mixing needs at least two experts, got {list(datasets)}")
        if options.repetitions is not None:
            raise ConfigError(
                "repetitions needs to know how large datasets are, which experts do not tell: give caps"
            )
        if options.pairs:
            raise ConfigError(
                "pairs trains models on two datasets each, which needs a run configuration: leave it out, or "
                "correct a table of `m2m score` by models of your own with `m2m select --pairs`"
            )
        metrics = {scorer.task: next(iter(scorer.metrics.items())) for scorer in scorers}
        weights = options.capabilities or dict.fromkeys(metrics, 1.0)
        _known("capabilities", weights, metrics)
        total = sum(weights.values())
        targets = tuple(
            WeightedTarget(name, weight / total, *metrics[name]) for name, weight in weights.items()
        )
        return cls._found(targets, datasets, options, options.caps, seed)

    @classmethod
    def _found(
        cls,
        targets: tuple[WeightedTarget, ...],
        datasets: Sequence[str],
        options: MixOptions,
        caps: Mapping[str, float],
        seed: int,
    ) -> Problem:
        for prior in options.priors:
            _known("priors", prior, datasets)
        for name, bounds in (("floors", options.floors), ("caps", options.caps)):
            _known(name, bounds, datasets)
        space = _space(datasets, options, caps)
        families_for(options.regressor, options.seeds, len(datasets), options.folds)
        return cls(targets, space, tuple(starting_mixtures(space, options, np.random.default_rng(seed))))


def _weighted(config: RunConfig, targets: Targets) -> tuple[WeightedTarget, ...]:
    weights = config.mix.capabilities or config.run.weights
    _known("capabilities", weights, targets.names)
    total = sum(weights.values())
    return tuple(
        WeightedTarget(name, weight / total, *targets.headline(name)) for name, weight in weights.items()
    )


def _caps(config: RunConfig, setup: Setup) -> dict[str, float]:
    """Largest shares, those that `repetitions` sets among them."""
    options = config.mix
    caps = {name: float(share) for name, share in options.caps.items()}
    if options.repetitions is not None:
        sizes = {name: len(examples) for name, examples in setup.datasets.items()}
        drawn = config.train.steps * config.train.batch
        for name, cap in repetition_caps(sizes, drawn, options.repetitions).items():
            caps[name] = min(cap, caps.get(name, 1.0))
    return caps


def _space(datasets: Sequence[str], options: MixOptions, caps: Mapping[str, float]) -> Simplex:
    for number, prior in enumerate(options.priors, start=1):
        if not (abs(sum(prior.values()) - 1) <= 1e-6 and min(prior.values()) >= 0):  # NaN among them
            raise ConfigError(f"prior {number} must have shares that sum to 1, got {dict(prior)}")
    pull = options.priors[0] if options.priors and options.strength else None
    return Simplex(datasets, options.floors, caps, pull, options.strength)


def _known(key: str, names: Iterable[str], known: Iterable[str]) -> None:
    there = list(known)
    for name in names:
        if name not in there:
            raise ConfigError(f"{key}: there is no {name!r}{did_you_mean(name, there)}; there are {there}")


def starting_mixtures(
    space: Simplex, options: MixOptions, generator: np.random.Generator
) -> list[StartingMixture]:
    """Choose `options.seeds` different mixtures, equal shares first; bounds move what lies outside."""
    chosen: list[Floats] = []
    starts: list[StartingMixture] = []
    for tried, (kind, point) in enumerate(_wanted(space, options, generator)):
        near = space.nearest(point)
        if len(distinct(near[None], np.reshape(chosen, (-1, near.size)))):
            chosen.append(near)
            starts.append(StartingMixture(kind, space.mixture(near)))
        if len(starts) == options.seeds:
            break
        if tried > PATIENCE * options.seeds:
            raise MixtureError(
                f"floors and caps leave room for {len(starts)} different mixtures, wanted "
                f"{options.seeds} to start from: raise caps, lower floors, or lower `seeds`"
            )
    return starts


def _wanted(
    space: Simplex, options: MixOptions, generator: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    n = len(space.datasets)
    yield "equal", np.full(n, 1 / n)
    for prior in options.priors:
        yield "prior", np.array([prior.get(name, 0.0) for name in space.datasets])
    yield from (("grid", point) for point in grid(n, _levels(n, options)))
    while True:
        yield "drawn", generator.dirichlet(np.full(n, options.dirichlet))


def _levels(n: int, options: MixOptions) -> int:
    if options.grid is None:
        half = options.seeds // 2
        return next(level for level in count(1) if _size(n, level + 1) > half) if n <= half else 0
    if options.grid and _size(n, options.grid) > options.seeds - 1 - len(options.priors):
        raise ConfigError(
            f"a grid of {options.grid} levels over {n} datasets has {_size(n, options.grid)} mixtures, which "
            f"with equal shares and priors is more than {options.seeds} starting mixtures: raise `seeds` or "
            f"lower `grid`"
        )
    return options.grid


def _size(n: int, levels: int) -> int:
    return comb(levels + n - 1, n - 1)


def grid(n: int, levels: int) -> Iterator[Floats]:
    """Walk over mixtures [N] with shares in steps of 1/levels, none at 0: Scheffé's {N, levels} lattice."""
    for bars in combinations(range(levels + n - 1), n - 1) if levels else ():
        edges = np.array([-1, *bars, levels + n - 1])
        yield (np.diff(edges) - 1) / levels
