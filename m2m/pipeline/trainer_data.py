"""Data as files for a trainer outside m2m: each dataset, and what one training reads, in its order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.setups.protocol import Setup
from m2m.support.files import replacing
from m2m.training import MixtureSampler, TrainRecipe
from m2m.training.shares import sampled_mixture

#: Keys of an object by what trainers call such a record; the first that fits.
RECORDS = {
    "messages": {"messages"},
    "prompt_completion": {"prompt", "completion"},
    "text": {"text"},
}


@dataclass(frozen=True)
class DatasetFile:
    """One dataset as JSON Lines.

    Attributes:
        path: The file.
        examples: Its lines.
        record: What a line is: `text`, `prompt_completion`, `messages`, or `other` keys.
    """

    path: Path
    examples: int
    record: str


def write_dataset(setup: Setup, name: str, folder: Path) -> DatasetFile | None:
    """Write a dataset as JSON Lines, unless it lies there.

    Args:
        setup: The set-up; its `records(name)`, if it has that, gives the dataset's objects.
        name: The dataset.
        folder: Where the file goes.

    Returns:
        The file; None if the set-up does not tell its data.
    """
    records = getattr(setup, "records", None)
    if records is None:
        return None
    path = folder / f"{name}.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, (json.dumps(record, ensure_ascii=False).encode() for record in records(name)))
    lines = _lines(path)
    return DatasetFile(path, len(lines), _record_of(json.loads(lines[0])) if lines else "other")


def write_training(
    files: Mapping[str, DatasetFile], mixture: Mixture, recipe: TrainRecipe, seed: int, path: Path
) -> int:
    """Write the examples that a training draws, batch behind batch, as m2m's own training would draw them.

    Args:
        files: The datasets of the mixture, by name.
        mixture: What to train on.
        recipe: Steps, batch and sampling.
        seed: Decides the order of examples.
        path: The file to write.

    Returns:
        Its lines: steps × batch.

    Raises:
        ConfigError: If the datasets' records are of different kinds.
    """
    kinds = {name: file.record for name, file in files.items()}
    if len(set(kinds.values())) > 1:
        raise ConfigError(
            f"[train] command: one file of {mixture.label} would hold records of different kinds ({kinds}); "
            "bring the datasets to one format"
        )
    sizes = {name: file.examples for name, file in files.items()}
    drawn = sampled_mixture(mixture, sizes, recipe)
    sampler, total = MixtureSampler(drawn, sizes, recipe.batch, seed), recipe.total_steps(mixture)
    lines = {name: _lines(file.path) for name, file in files.items()}

    def examples() -> Iterator[bytes]:
        for _, picked in zip(range(total), sampler, strict=False):
            for name, numbers in picked.items():
                yield from (lines[name][number] for number in numbers.tolist())

    _write(path, examples())
    return total * recipe.batch


def _write(path: Path, lines: Iterable[bytes]) -> None:
    with replacing(path) as file:
        for line in lines:
            file.write(line + b"\n")


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def _record_of(record: Mapping[str, Any]) -> str:
    return next((kind for kind, keys in RECORDS.items() if keys <= record.keys()), "other")
