"""The run configuration: one strict TOML file; unknown keys are errors, paths are relative to the file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from m2m.errors import ConfigError
from m2m.pipeline.advice import Until
from m2m.pipeline.mix_options import MixOptions, read_mix_options
from m2m.pipeline.trainer_job import check_command
from m2m.support.checked import Natural, Positive
from m2m.support.doors import read_json, read_toml
from m2m.support.options import key_names, read_options
from m2m.support.outputs import RUN_MARK
from m2m.support.schema import check_keys
from m2m.training.recipe import LoraOptions, TrainRecipe


@dataclass(frozen=True)
class RunOptions:
    """The `[run]` table.

    Attributes:
        target: The target that the mixture is chosen for; or several, each with its weight.
        fidelity: Targets whose fidelity is reported; empty means all of the set-up's targets.
        budget: Most mixtures that are merged and scored; where there are more, a search chooses them. Not
            given: every mixture of up to 12 datasets; of more 300, or 6 a dataset if that is more.
        validate: Whether every mixture is really trained, to measure fidelity and regret; or how many of two
            or more datasets are, beside those that are in any case: half drawn by chance, half the pick's
            contenders, a few at a time.
        until: When to stop training mixtures: `P(within 2 %) > 0.9`, the probability that the pick is within
            a share of the range of trained scores of the best. Then at most `validate` are trained, or all.
        truth_seeds: Training seeds a mixture gets where every one is trained; the second one gives the noise
            ceiling.
        seed: First training seed; also seeds the random-subset baseline.
        baselines: Whether what the pick is compared with is trained too: all datasets, those most similar to
            the target, and a random subset. `false` trains the pick alone, unless every mixture is trained.
    """

    target: str | Mapping[str, float]
    fidelity: tuple[str, ...] = ()
    budget: Positive | None = None
    validate: bool | Positive = False
    until: str | None = None
    truth_seeds: Positive = 2
    seed: Natural = 0
    baselines: bool = True

    @property
    def trains_all(self) -> bool:
        """Whether every mixture is trained, whatever is found on the way."""
        return self.validate is True and self.until is None

    @property
    def trains_some(self) -> bool:
        """Whether mixtures are trained on advice, until there are enough."""
        return not self.trains_all and (self.until is not None or self.validate is not False)

    @property
    def has_baselines(self) -> bool:
        """Whether the baselines are among the models: they cost nothing where every mixture is trained."""
        return self.baselines or self.trains_all

    @property
    def most_trainings(self) -> int | None:
        """How many mixtures are trained on advice at most; None: all there are."""
        return None if isinstance(self.validate, bool) else self.validate

    @cached_property
    def stop(self) -> Until | None:
        """When enough is trained; None: when as many as wanted are."""
        return None if self.until is None else Until.parse(self.until)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each target that the mixture is chosen for; they sum to one."""
        given = {self.target: 1.0} if isinstance(self.target, str) else self.target
        total = sum(given.values())
        return {name: weight / total for name, weight in given.items()}

    @property
    def chosen_for(self) -> str:
        """The target, or all of them, in words: `2 italian + protobuf`."""
        if isinstance(self.target, str):
            return self.target
        even = len(set(self.target.values())) == 1
        return " + ".join(name if even or w == 1 else f"{w:g} {name}" for name, w in self.target.items())


@dataclass(frozen=True)
class TrainerOptions:
    """Keys of the `[train]` table that are no part of the recipe: who trains, and what is trained already.

    Attributes:
        experts: Experts that exist already: a folder with a model or a PEFT adapter by dataset name. Then no
            expert is trained.
        command: Your own trainer, program and arguments: run for every training instead of m2m's own. It is
            told what to train on by `{placeholders}`, the environment and a JSON file.
    """

    experts: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is made from.

    Attributes:
        path: The file it was read from.
        run: What to choose for and what to validate.
        train: The uniform recipe of every expert and mixture.
        setup: The `[setup]` table, for `m2m.setups.load`.
        mix: How `m2m mix` searches.
        trainer: Who trains, and what is trained already.
    """

    path: Path
    run: RunOptions
    train: TrainRecipe
    setup: Mapping[str, Any]
    mix: MixOptions = field(default_factory=MixOptions)
    trainer: TrainerOptions = field(default_factory=TrainerOptions)

    @cached_property
    def root(self) -> Path:
        """Folder that relative paths of the file start from; of a run's own copy: that of the original."""
        mark = self.path.with_name(RUN_MARK)
        if self.path.name != "config.toml" or not mark.is_file():
            return self.path.parent
        return Path(read_json(mark, "what a run writes there", ConfigError, {"root": str})["root"])

    @property
    def experts(self) -> dict[str, Path]:
        """Experts that exist already, by dataset name; empty: they are trained."""
        return {name: self.root / path for name, path in self.trainer.experts.items()}

    @property
    def identity(self) -> str:
        """Hash of all that decides the results.

        `budget`, `validate`, `until`, `baselines`, `save_moments` and `[mix]` only add to them. Models from
        elsewhere are told by their content, where the run keeps them.
        """
        text = json.dumps(self.deciding, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def deciding(self) -> dict[str, Any]:
        """All that decides the results, by key; those of `[run]` stand by themselves."""
        content = asdict(self.run) | {"train": self.train.deciding, "setup": self.setup}
        for adding in ("budget", "validate", "until", "baselines"):
            del content[adding]
        return content

    @property
    def dataset_names(self) -> list[str]:
        """Names of the datasets as `[setup]` lists them, in a table or a list; none where it does neither."""
        listed = self.setup.get("datasets")
        return [str(name) for name in listed] if isinstance(listed, Mapping | list) else []

    def without_dataset(self, name: str) -> RunConfig:
        """Return the same configuration without one of `dataset_names`."""
        listed = self.setup["datasets"]
        left: Any = [other for other in listed if other != name]
        if isinstance(listed, Mapping):
            left = {other: listed[other] for other in left}
        return replace(self, setup={**self.setup, "datasets": left})

    def reads(self, path: Path) -> bool:
        """Say whether a file is named, by itself or by a pattern; then it is not to be written over.

        Args:
            path: The file.

        Returns:
            Whether some text in `[setup]`, of `experts` or of `command` fits; some fit more than is read.
        """
        name = os.path.realpath(path)
        return os.path.isfile(name) and any(
            name in (p, f"{p}.py") or fnmatchcase(name, p) for p in self._patterns()
        )

    def gathers(self, path: Path) -> str | None:
        """Say which data of the set-up a new file would become a part of.

        Args:
            path: The file; nothing need be there.

        Returns:
            The pattern in `[setup]` that takes the file in; None if none does.
        """
        new = PurePath(os.path.realpath(path))
        for pattern in map(PurePath, self._patterns()):
            if "**" in pattern.parts:
                found = fnmatchcase(str(new), str(pattern))
            else:
                found = len(new.parts) == len(pattern.parts) and all(
                    map(fnmatchcase, new.parts, pattern.parts)
                )
            if found:
                return str(pattern)
        return None

    def _patterns(self) -> Iterator[str]:
        named = {"setup": self.setup, "experts": self.trainer.experts, "command": [*self.trainer.command]}
        return (os.path.realpath(self.root / text.partition(".py:")[0]) for text in _texts(named))


def load(path: str | Path) -> RunConfig:
    """Read a run configuration.

    Args:
        path: A TOML file with the tables `[run]`, `[train]` and `[setup]`, and `[mix]` if wanted.

    Returns:
        The configuration; only its form is checked, the set-up checks its own table when it is loaded.

    Raises:
        ConfigError: If the file is missing or not TOML, or a table or key is missing, unknown or mistyped.
    """
    path = Path(path)
    tables = read_toml(path, "a run configuration (TOML)", ConfigError)
    check_keys(tables, ["run", "train", "setup", "mix"], str(path))
    for name in ("run", "train", "setup"):
        if not isinstance(tables.get(name), dict):
            raise ConfigError(f"{path} has no table [{name}]")
    train = tables["train"]
    trainer = read_options(TrainerOptions, train, f"{path} [train]", TrainRecipe)
    check_command(trainer.command, f"{path} [train]")
    return RunConfig(
        path=path.resolve(),
        run=_run_options(tables["run"], f"{path} [run]"),
        train=_train_recipe(train, f"{path} [train]"),
        setup=tables["setup"],
        mix=read_mix_options(tables.get("mix", {}), f"{path} [mix]"),
        trainer=trainer,
    )


def load_mix(path: str | Path) -> MixOptions:
    """Read the `[mix]` table alone, of a run configuration or of a file that has nothing else."""
    tables = read_toml(Path(path), "a run configuration (TOML)", ConfigError)
    check_keys(tables, ["run", "train", "setup", "mix"], str(path))
    return read_mix_options(tables.get("mix", {}), f"{path} [mix]")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if "\0" not in value:
            yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def _run_options(table: Mapping[str, Any], where: str) -> RunOptions:
    options = read_options(RunOptions, table, where)
    try:
        _ = options.stop
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if isinstance(options.target, str):
        return options
    weights = {name: float(weight) for name, weight in options.target.items()}
    if not (weights and min(weights.values()) > 0 and math.isfinite(sum(weights.values()))):
        raise ConfigError(
            f"{where}: `target` must be a target's name or weights above 0 by name, as in {{a = 2, b = 1}}, "
            f"got {options.target!r:.60}"
        )
    # One target alone is chosen for as it is, whatever its weight.
    return replace(options, target=weights if len(weights) > 1 else next(iter(weights)))


def _train_recipe(table: Mapping[str, Any], where: str) -> TrainRecipe:
    check_keys(table, key_names(TrainRecipe, TrainerOptions), where)
    known = key_names(TrainRecipe)
    try:
        values: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in table.items() if key in known
        }
        if "lora" in table:
            values["lora"] = read_options(LoraOptions, table["lora"], "lora")
        return TrainRecipe(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {str(error).partition('__init__() ')[2] or error}") from None
    except ConfigError as error:  # a recipe names its table, which is named already
        raise ConfigError(f"{where}: {str(error).removeprefix('train.')}") from None
