"""The user's own trainer: told what to train on, run, and its model taken, one training after the other."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.locate import CURVE_NAME
from m2m.checkpoint.manifest import hash_file
from m2m.errors import CheckpointError, ConfigError, InputError
from m2m.mixture import Mixture
from m2m.pipeline.provenance import KEY
from m2m.pipeline.taking import is_model, take_model
from m2m.pipeline.trainer_data import write_dataset, write_training
from m2m.pipeline.trainer_job import TrainerJob, check_programs, job_of
from m2m.scoring.models import model_state
from m2m.setups.protocol import Setup
from m2m.support.doors import read_json
from m2m.support.files import write_atomically
from m2m.support.programs import last_lines, run_program
from m2m.training import TrainRecipe, curve_text

#: Lines of a failed trainer's log that are shown.
_SHOWN = 15
#: Key of a manifest: hashes of the files that the command names.
SCRIPTS = "scripts"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnTrainer:
    """Trains by a command.

    Attributes:
        command: Program and arguments, with placeholders.
        root: Where it runs: the configuration's folder.
        room: The run's folder of trainings.
        setup: Says what the data are.
        base: Checkpoint of θ₀ in the run, which models are held against.
        recipe: The uniform recipe.
    """

    command: tuple[str, ...]
    root: Path
    room: Path
    setup: Setup
    base: Path
    recipe: TrainRecipe

    def train(self, mixture: Mixture, seed: int, folder: Path, origin: Mapping[str, Any]) -> None:
        """Train on a mixture; the model is the run's when all went well, and what went wrong is left to read.

        Args:
            mixture: What to train on.
            seed: Training seed.
            folder: Where the run keeps the model; there is nothing yet.
            origin: What its manifest says it was made from.

        Raises:
            ConfigError: If the program cannot be found, fails, or leaves no model.
            CheckpointError: If it leaves another model than one trained from the base.
        """  # noqa: DOC502 - partly raised by what is called
        check_programs(self.command, self.root, "[train]")
        job = self._prepare(mixture, seed)
        log = job.job.with_name("train.log")
        command = job.filled_in(self.command)
        code = run_program(command, self.root, {**os.environ, **job.environment, "M2M_LOG": str(log)}, log)
        said = f"training {mixture.label} (seed {seed}): `{shlex.join(self.command)}`"
        if code:
            self._show(log)
            raise ConfigError(
                f"{said} ended with exit code {code}; {log} has what it said; trainings that are done are "
                "kept, and the same m2m command goes on with this one"
            )
        if not is_model(job.output):
            self._show(log)
            raise ConfigError(
                f"{said} left no model: wanted model.safetensors, with an index or not, or "
                f"adapter_config.json in {job.output} ({{output}}, M2M_OUTPUT)"
            )
        notes = {"mixture": mixture.label, "seed": str(seed)}
        try:
            facts, texts = {KEY: origin, SCRIPTS: self.scripts}, _losses(job.output)
            take_model(job.output, self.base, folder, notes, facts, texts)
        except InputError as error:
            raise type(error)(f"{said} left what is not a model trained from the base: {error}") from error
        self._tell_of_moved(folder, said, job.trainable)
        if job.data is not None:
            job.data.unlink()  # it can be written again, and is as long as all steps

    @property
    def scripts(self) -> dict[str, str]:
        """Hashes of the files that the command names, by the argument."""
        files = {argument: self.root / argument for argument in self.command[1:]}
        return {argument: hash_file(file) for argument, file in files.items() if file.is_file()}

    def place(self, mixture: Mixture, seed: int) -> Path:
        """Where a training has its description, data, log and output."""
        return self.room / "jobs" / mixture.folder_name / f"seed{seed}"

    def _prepare(self, mixture: Mixture, seed: int) -> TrainerJob:
        place = self.place(mixture, seed)
        place.mkdir(parents=True, exist_ok=True)
        files = {name: write_dataset(self.setup, name, self.room / "data") for name in mixture.members}
        told = {name: file for name, file in files.items() if file is not None}
        data = place / "train.jsonl"
        examples = write_training(told, mixture, self.recipe, seed, data) if told else 0
        base = getattr(self.setup, "model_folder", None) or self.base
        job = job_of(place, mixture, seed, self.recipe, Path(base).absolute(), self.setup, files, examples)
        write_atomically(job.job, json.dumps(job.content, indent=1, ensure_ascii=False) + "\n")
        return job

    def _tell_of_moved(self, folder: Path, said: str, trainable: Sequence[str]) -> None:
        if not trainable:
            return
        base = Checkpoint(self.base)
        moved = [
            name
            for name, tensor in model_state(self.base, folder).items()
            if not any(re.search(pattern, name) for pattern in trainable)
            and not torch.equal(tensor, base.read(name))
        ]
        if moved:
            _log.warning(
                "%s moved %d tensors outside `trainable` of [setup.base], such as %s; the model is taken as "
                "it is, and merged with what moved: `trainable` in job.json says what to train",
                said, len(moved), moved[0],
            )  # fmt: skip

    def _show(self, log: Path) -> None:
        _log.warning("the end of %s:\n%s", log, "\n".join(f"  {line}" for line in last_lines(log, _SHOWN)))


def _losses(output: Path) -> dict[str, str]:
    """Take the losses from the state that transformers' Trainer, and so TRL and others, may have left."""
    path = output / "trainer_state.json"
    if not path.exists():
        return {}
    content = read_json(path, "a Trainer's state", CheckpointError, {"log_history": [dict]})
    curve = [
        (entry["step"], float(entry["loss"]), float(entry.get("learning_rate", math.nan)))
        for entry in content["log_history"]
        if "loss" in entry and "step" in entry
    ]
    return {CURVE_NAME: curve_text(curve)}
