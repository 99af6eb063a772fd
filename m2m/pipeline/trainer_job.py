"""A training as a trainer outside m2m is told of it: a JSON object; its values as environment and text."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.support.schema import did_you_mean
from m2m.training import TrainRecipe

if TYPE_CHECKING:
    from m2m.pipeline.trainer_data import DatasetFile
    from m2m.setups.protocol import Setup

#: What a command's arguments may hold; other braces stay as they are.
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class TrainerJob:
    """One training.

    Attributes:
        job: The JSON file that says all this.
        name: The mixture's label, such as `law+code`.
        seed: Seed of all that is random.
        base: Folder of the model to start from.
        context: Tokens an example predicts, so that it has one more; None if the set-up does not say.
        trainable: Regular expressions: only parameters whose name one is found in are to move; empty: all.
        data: JSON Lines: the examples to train on, in order, `batch` a step; None if the set-up does not tell
            its data.
        record: What a line is: `text`, `prompt_completion`, `messages`, or `other` keys.
        examples: Lines of `data`.
        output: Folder to leave the model or adapter in; it may hold what an earlier try left.
        steps: Optimizer steps.
        shares: The mixture: shares by dataset name.
        datasets: Every dataset of the mixture by name: `path` of its own JSON Lines, `examples`, `share`.
        recipe: The recipe's other keys, as `[train]` has them.
    """

    job: Path
    name: str
    seed: int
    base: Path
    context: int | None
    trainable: Sequence[str]
    data: Path | None
    record: str
    examples: int
    output: Path
    steps: int
    shares: Mapping[str, float]
    datasets: Mapping[str, Mapping[str, Any]]
    recipe: Mapping[str, Any]

    @property
    def content(self) -> dict[str, Any]:
        """The JSON object."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}

    @property
    def values(self) -> dict[str, str]:
        """Every single value of it by name, the recipe's too, and m2m's Python; what is missing is empty."""
        single = {name: value for name, value in self.content.items() if not isinstance(value, Mapping)}
        flat = {name: value for name, value in self.recipe.items() if not isinstance(value, Mapping)}
        return {name: _text(value) for name, value in (flat | single).items()} | {"python": sys.executable}

    @property
    def environment(self) -> dict[str, str]:
        """The values as variables: `M2M_OUTPUT` and so on."""
        return {f"M2M_{name.upper()}": value for name, value in self.values.items()}

    def filled_in(self, command: Sequence[str]) -> list[str]:
        """Put the values in place of `{name}` in a command."""
        values = self.values
        return [
            _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), argument) for argument in command
        ]


def job_of(
    place: Path,
    mixture: Mixture,
    seed: int,
    recipe: TrainRecipe,
    base: Path,
    setup: Setup,
    files: Mapping[str, DatasetFile | None],
    examples: int,
) -> TrainerJob:
    """Describe a training in its folder; `files` are the mixture's datasets, `examples` to be drawn."""
    known = {name: file for name, file in files.items() if file is not None}
    datasets = {
        name: {
            "path": str(known[name].path) if name in known else None,
            "examples": known[name].examples if name in known else None,
            "share": mixture.shares[name],
        }
        for name in mixture.members
    }
    return TrainerJob(
        job=place / "job.json",
        name=mixture.label,
        seed=seed,
        base=base,
        context=getattr(setup, "context", None),
        trainable=getattr(setup, "trainable", ()),
        data=place / "train.jsonl" if examples else None,
        record=next((file.record for file in known.values()), "other"),
        examples=examples,
        output=place / "output",
        steps=recipe.total_steps(mixture),
        shares={name: mixture.shares[name] for name in mixture.members},
        datasets=datasets,
        recipe={name: value for name, value in asdict(recipe).items() if name != "steps"},
    )


def check_command(command: Sequence[str], where: str) -> None:
    """Refuse a command with a placeholder that no training fills in."""
    known = {field.name for field in fields(TrainerJob)} - {"shares", "datasets", "recipe"}
    known |= {field.name for field in fields(TrainRecipe)} | {"python"}
    for argument in command:
        for name in _PLACEHOLDER.findall(argument):
            if name not in known:
                raise ConfigError(
                    f"{where}: `command` has {{{name}}}{did_you_mean(name, known)}; there are "
                    + ", ".join(f"{{{one}}}" for one in sorted(known))
                )


def check_programs(command: Sequence[str], root: Path, where: str) -> None:
    """Refuse a command whose program is not there, or whose Python script; none is a trainer too.

    Args:
        command: Program and arguments; empty: m2m trains.
        root: Folder that it runs in.
        where: The table's name, which messages begin with.

    Raises:
        ConfigError: If the program cannot be found, or is not to be run.
    """
    if not command:
        return
    program = command[0].replace("{python}", sys.executable)
    if shutil.which(str(root / program) if os.sep in program else program) is None:
        raise ConfigError(f"{where}: `command`: there is no program {program!r} that can be run")
    script = next(iter(command[1:]), "")
    is_python = Path(program).name.startswith("python")
    if is_python and script.endswith(".py") and "{" not in script and not (root / script).is_file():
        raise ConfigError(f"{where}: `command`: there is no file {root / script}")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
