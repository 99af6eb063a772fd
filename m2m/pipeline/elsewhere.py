"""Models of a run that m2m does not train: experts that exist already, and what the user's trainer makes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.checkpoint.manifest import read_manifest
from m2m.mixture import Mixture
from m2m.pipeline.config import RunConfig
from m2m.pipeline.own_trainer import SCRIPTS, OwnTrainer
from m2m.pipeline.provenance import KEY, checkpoint_key, made_by, taken_from, taken_key
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.taking import model_key, take_model
from m2m.setups.protocol import Setup
from m2m.support.progress import Progress

#: A mixture and its training seed.
Model = tuple[Mixture, int]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Elsewhere:
    """Brings such models into a run folder.

    Attributes:
        config: The run configuration.
        setup: Its set-up.
        contents: Content hashes of the set-up's parts.
        folder: The run folder; its base model is there.
        progress: Called with (done, total, step).
    """

    config: RunConfig
    setup: Setup
    contents: Mapping[str, str]
    folder: RunFolder
    progress: Progress

    def bring(self, models: Sequence[Model], step: str) -> dict[Model, dict[str, Any] | None]:
        """Bring the models that are not there, one after the other; one that fails leaves the others there.

        Args:
            models: What the run needs.
            step: What progress calls it.

        Returns:
            What each of the models is made from; None for those that m2m trains itself.
        """
        base = checkpoint_key(self.folder.base)
        origins = {model: self._origin(*model, base) for model in models}
        wanted = {
            model: origin
            for model, origin in origins.items()
            if origin is not None and not self.folder.model(*model).exists()
        }
        for done, ((mixture, seed), origin) in enumerate(wanted.items()):
            self.progress(done, len(wanted), f"{step}: {mixture.label}")
            self._bring(mixture, seed, origin)
        if wanted:
            self.progress(len(wanted), len(wanted), step)
        self._tell_of_other_scripts([model for model in models if origins[model] is not None])
        return origins

    def _bring(self, mixture: Mixture, seed: int, origin: Mapping[str, Any]) -> None:
        folder = self.folder.model(mixture, seed)
        if given := self._given(mixture, seed):
            notes = {"mixture": mixture.label, "seed": str(seed)}
            take_model(given, self.folder.base, folder, notes, {KEY: origin})
        else:
            self._trainer.train(mixture, seed, folder, origin)

    def _origin(self, mixture: Mixture, seed: int, base: str) -> dict[str, Any] | None:
        if given := self._given(mixture, seed):
            folder = self.folder.model(mixture, seed)
            gone = folder.exists() and not given.exists()  # the run has its own
            expert = taken_key(folder) if gone else model_key(given, self.folder.base)
            return taken_from(mixture, seed, expert, base)
        if command := self.config.trainer.command:
            return made_by(command, mixture, seed, self.config.train, base, self.contents)
        return None

    def _given(self, mixture: Mixture, seed: int) -> Path | None:
        """Say where an expert lies that exists already; it stands for the run's first seed."""
        first = len(mixture.members) == 1 and seed == self.config.run.seed
        return self.config.experts.get(mixture.members[0]) if first else None

    @property
    def _trainer(self) -> OwnTrainer:
        room = self.folder.trainings.absolute()
        command, root = self.config.trainer.command, self.config.root
        return OwnTrainer(command, root, room, self.setup, self.folder.base, self.config.train)

    def _tell_of_other_scripts(self, models: Sequence[Model]) -> None:
        # A change of a script may be of a comment or of the recipe: only its author knows.
        now = self._trainer.scripts
        for mixture, seed in models:
            folder = self.folder.model(mixture, seed)
            before = read_manifest(folder).get(SCRIPTS, {})
            for name in sorted(name for name in before if now.get(name) != before[name]):
                _log.warning(
                    "%s was trained when %s was another file; if that changes what is trained, remove it: "
                    "merging wants one recipe",
                    folder, name,
                )  # fmt: skip
