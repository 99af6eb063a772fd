"""A run folder's trained models as displacements from the base: experts, and what mixtures became."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from analysis.curvature.landscape import Landscape
from analysis.study_setup import StudySetup, study_setup
from m2m import setups
from m2m.checkpoint import verified_state
from m2m.data import cache_dir
from m2m.errors import InputError, RunFolderError
from m2m.mixture import Mixture, all_subsets
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder
from m2m.setups.contents import contents_of
from m2m.setups.protocol import Target
from m2m.training import TrainRecipe


@dataclass(frozen=True)
class TrainedRun:
    """Models of one run folder and the landscape they lie in.

    Attributes:
        folder: The run folder.
        identity: Hash of the configuration it was made from.
        setup: The run's set-up as it is studied.
        base: θ₀ in the precision of the study, tensor by name.
        landscape: Losses around θ₀.
        datasets: Names of the datasets. [N]
        experts: Task vectors τ of the first seed's experts. [N, P]
        mixtures: Mixtures of two or more datasets that were trained with the first seed.
        recipe: How all of them were trained.
        seed: First training seed.
        target: Name of the target the run chose for.
    """

    folder: RunFolder
    identity: str
    setup: StudySetup
    base: dict[str, Tensor]
    landscape: Landscape
    datasets: tuple[str, ...]
    experts: Tensor
    mixtures: tuple[Mixture, ...]
    recipe: TrainRecipe
    seed: int
    target: str

    def displacement(self, mixture: Mixture, seed: int) -> Tensor | None:
        """Read what a mixture was trained to.

        Args:
            mixture: The mixture.
            seed: Training seed.

        Returns:
            θ*(λ) − θ₀, or None if it was not trained with that seed. [P]
        """
        path = self.folder.model(mixture, seed)
        return self.landscape.displacement(verified_state(path)) if path.exists() else None

    def target_named(self, name: str | None) -> tuple[str, Target]:
        """Find a target.

        Args:
            name: Its name; None: the one the run chose for.

        Returns:
            The name and the target.

        Raises:
            InputError: If there is no such target.
        """
        chosen = name or self.target
        if chosen not in self.setup.targets:
            raise InputError(f"no target {chosen!r}; the run has {list(self.setup.targets)}")
        return chosen, self.setup.targets[chosen]


def open_run(root: str | Path, examples: int | None = None, *, float64: bool = True) -> TrainedRun:
    """Open a run folder's models for study.

    Args:
        root: The run folder; its experts must be trained.
        examples: Examples taken from every dataset and target; None: all of them.
        float64: Whether the study is made in float64.

    Returns:
        The run.

    Raises:
        RunFolderError: If it is no run folder, its configuration or data changed, or experts are missing.
    """
    folder = RunFolder(Path(root))
    if not (folder.identity.is_file() and folder.config.is_file()):
        raise RunFolderError(f"{root} is not a run folder: it has no {folder.identity.name}")
    loaded, origin = config.load(folder.config), folder.read_identity()
    if loaded.identity != origin["identity"]:
        raise RunFolderError(f"{folder.config} was changed after the run was made from it")
    original = setups.load(loaded.setup, Path(origin["root"]), cache_dir())
    folder.check_contents(contents_of(original))
    setup = study_setup(original, examples, float64=float64)
    subsets = all_subsets(list(setup.datasets))
    singles = subsets[: len(setup.datasets)]
    missing = [m.label for m in singles if not folder.model(m, loaded.run.seed).exists()]
    if missing or not folder.base.exists():
        raise RunFolderError(
            f"{root} is not a finished run: no {'expert ' + missing[0] if missing else 'base'}"
        )
    base = setup.cast(verified_state(folder.base))
    landscape = Landscape(setup, base)
    states = (verified_state(folder.model(m, loaded.run.seed)) for m in singles)
    return TrainedRun(
        folder=folder,
        identity=loaded.identity,
        setup=setup,
        base=base,
        landscape=landscape,
        datasets=tuple(setup.datasets),
        experts=torch.stack([landscape.displacement(state) for state in states]),
        mixtures=tuple(m for m in subsets[len(singles) :] if folder.model(m, loaded.run.seed).exists()),
        recipe=loaded.train,
        seed=loaded.run.seed,
        target=loaded.run.target,
    )
