"""A run's set-up as the theory wants it, and its trained models as displacements from the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis.curvature.loss_surface import LossSurface
from m2m.checkpoint import verified_state
from m2m.data import cache_dir
from m2m.errors import InputError, RunFolderError
from m2m.mixture import Mixture, all_subsets
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring import load_targets, model_state
from m2m.setups.protocol import Batch, Examples, Setup, Target
from m2m.setups.rows.inventory import Inventory, inventory_of
from m2m.support.arguments import argument
from m2m.support.progress import Progress
from m2m.training import TrainRecipe


@dataclass
class StudySetup:
    """Another set-up in another precision, possibly on fewer examples; see `protocol.Setup`.

    Attributes:
        original: The set-up it stands for.
        datasets: Training examples by dataset name.
        targets: Targets by name.
        metrics: The original's metrics.
        version: The original's version, and what was changed.
        batch_size: Examples a batch in evaluation.
        dtype: Type of all floating-point tensors; None leaves each as it is.
    """

    original: Setup
    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target]
    metrics: Mapping[str, bool]
    version: str
    batch_size: int
    dtype: torch.dtype | None

    @property
    def inventory(self) -> Inventory:
        """What the original read."""
        return inventory_of(self.original)

    def build(self) -> nn.Module:
        """Return a new module of the base architecture."""
        return self.original.build().to(self.dtype)

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀, tensor by name."""
        return self.cast(self.original.base_state(cache, progress))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the training loss of each example, in nat. [B]."""
        return self.original.loss(model, self._cast_batch(batch))

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return what of a batch goes into the model's forward, by keyword. each [B, ...]."""
        return self.original.inputs(self._cast_batch(batch))

    def judge(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Judge each example by what the model returned: each metric's values. each [B]."""
        return self.original.judge(output, self._cast_batch(batch))

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return an embedding of each example. [B, D]."""
        return self.original.embed(model, self._cast_batch(batch))

    def cast(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring a checkpoint's floating-point tensors to this set-up's precision."""
        return {name: _cast(tensor, self.dtype) for name, tensor in state.items()}

    def _cast_batch(self, batch: Batch) -> Batch:
        return tuple(_cast(field, self.dtype) for field in batch)


def study_setup(setup: Setup, examples: int | None = None, *, float64: bool = True) -> StudySetup:
    """Prepare a set-up for exact work.

    Args:
        setup: Any set-up.
        examples: Examples taken from every dataset and target split, at even distances; None: all of them.
        float64: Whether weights and inputs are cast to float64; else every tensor stays as it is.

    Returns:
        The set-up to study.

    Raises:
        InputError: If `examples` is below 1.
    """
    if examples is not None and examples < 1:
        raise InputError(f"at least 1 example a dataset is needed, got {examples}")
    return StudySetup(
        original=setup,
        datasets={name: _spread(data, examples) for name, data in setup.datasets.items()},
        targets={
            name: Target(_spread(target.validation, examples), _spread(target.test, examples))
            for name, target in setup.targets.items()
        },
        metrics=setup.metrics,
        version=f"{setup.version} examples={examples} float64={float64}",
        batch_size=setup.batch_size,
        dtype=torch.float64 if float64 else None,
    )


def _spread(data: Examples, count: int | None) -> Examples:
    if count is None or count >= len(data):
        return data
    return Examples(data.take(torch.arange(count) * len(data) // count))


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


@dataclass(frozen=True)
class TrainedRun:
    """Models of one run folder and the loss surface they lie on.

    Attributes:
        folder: The run folder.
        identity: Hash of the configuration it was made from.
        setup: The run's set-up as it is studied.
        base: θ₀ in the precision of the study, tensor by name.
        surface: Losses around θ₀.
        datasets: Names of the datasets. [N]
        experts: Task vectors τ of the first seed's experts. [N, P]
        mixtures: Mixtures of two or more datasets that were trained with the first seed.
        recipe: How all of them were trained.
        seed: First training seed.
        target: Name of the target the run chose for; None where it chose for several at once.
        judged: Names of targets that tasks judge.
    """

    folder: RunFolder
    identity: str
    setup: StudySetup
    base: dict[str, Tensor]
    surface: LossSurface
    datasets: tuple[str, ...]
    experts: Tensor
    mixtures: tuple[Mixture, ...]
    recipe: TrainRecipe
    seed: int
    target: str | None
    judged: tuple[str, ...] = ()

    def displacement(self, mixture: Mixture, seed: int) -> Tensor | None:
        """Read θ*(λ) − θ₀ of what a mixture was trained to, or None if it was not with that seed. [P]."""
        path = self.folder.model(mixture, seed)
        return self.surface.displacement(model_state(self.folder.base, path)) if path.exists() else None

    def mixture_or_all(self, mixture: Mixture | None) -> Mixture:
        """Return the mixture, or all datasets in equal parts; a single dataset has no residual to study."""
        chosen = mixture or Mixture.subset(self.datasets, self.datasets)
        if len(chosen.members) < 2:
            raise InputError(f"the mixture {chosen.label} is a single dataset: its residual is zero")
        return chosen

    def target_named(self, name: str | None) -> tuple[str, Target]:
        """Find a target by name; None: the one the run chose for."""
        chosen = name or self.target
        if chosen is None:
            raise InputError(
                f"{self.folder.root} chose for several targets at once: say {argument('target')} with one of "
                f"{list(self.setup.targets)}"
            )
        if chosen in self.judged:
            raise InputError(
                f"{self.folder.root}: target {chosen!r} is judged by a task, which has no gradient: say "
                f"{argument('target')} with one of {list(self.setup.targets)}"
            )
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
    targets = load_targets(loaded.setup, loaded.root, cache_dir())
    folder.check_contents(targets.contents)
    setup = study_setup(targets.setup, examples, float64=float64)
    subsets = all_subsets(list(setup.datasets))
    singles = subsets[: len(setup.datasets)]
    missing = [m.label for m in singles if not folder.model(m, loaded.run.seed).exists()]
    if missing or not folder.base.exists():
        raise RunFolderError(
            f"{root} is not a finished run: no {'expert ' + missing[0] if missing else 'base'}"
        )
    base = setup.cast(verified_state(folder.base))
    surface = LossSurface(setup, base)
    states = (model_state(folder.base, folder.model(m, loaded.run.seed)) for m in singles)
    return TrainedRun(
        folder=folder,
        identity=loaded.identity,
        setup=setup,
        base=base,
        surface=surface,
        datasets=tuple(setup.datasets),
        experts=torch.stack([surface.displacement(state) for state in states]),
        mixtures=tuple(m for m in subsets[len(singles) :] if folder.model(m, loaded.run.seed).exists()),
        recipe=loaded.train,
        seed=loaded.run.seed,
        target=loaded.run.target if isinstance(loaded.run.target, str) else None,
        judged=tuple(targets.judged),
    )
