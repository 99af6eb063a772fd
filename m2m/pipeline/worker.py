"""What runs in a worker process of a run: train a mixture, merge a candidate, and score the model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from m2m.checkpoint import save, verified_state
from m2m.checkpoint.locate import CURVE_NAME, MOMENTS_NAME
from m2m.errors import DataError
from m2m.executors.news import tell
from m2m.mixture import MergingWeights, Mixture
from m2m.pipeline.provenance import KEY, check_made_from, checkpoint_key, keeps_moments, made_from
from m2m.pipeline.run_folder import what_changed
from m2m.scoring import (
    Bench,
    Means,
    Scores,
    ScoreSource,
    Targets,
    load_targets,
    model_state,
    score_model,
    verified_models,
)  # fmt: skip
from m2m.scoring.spread import part_of
from m2m.scoring.tasks.scorer import Scorer
from m2m.setups.protocol import Setup, load_state
from m2m.support.content_keys import content_key
from m2m.training import SavedTraining, TrainRecipe, curve_text, train
from m2m.training.lora import save_adapter

#: A target's name and the split it is scored on.
Task = tuple[str, str]


@dataclass(frozen=True)
class Train:
    """Fine-tune the base on a mixture (unless that is done), then score the model.

    Attributes:
        mixture: What to train on.
        seed: Training seed.
        recipe: The uniform recipe.
        folder: Where its checkpoint lies, or will lie.
        tasks: What to score it on.
        origin: What a checkpoint that was not trained here says it was made from; None: the recipe.
    """

    mixture: Mixture
    seed: int
    recipe: TrainRecipe
    folder: Path
    tasks: tuple[Task, ...]
    origin: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Merge:
    """Sum experts with each mixture's weights (α = λ) or others, and score the models in one walk."""

    mixtures: tuple[MergingWeights, ...]
    #: Checkpoint folder of each dataset's expert. [N]
    experts: tuple[Path, ...]
    #: What to score them on.
    tasks: tuple[Task, ...]
    #: In which way, and what all workers of a machine may use.
    means: Means
    #: How many workers may share the machine.
    beside: int
    #: Whether the same worker may be given more candidates of these experts, which then stay open.
    more: bool


@dataclass
class _Bench:
    """One process's set-up and targets, and the base model that it trains from."""

    targets: Targets
    contents: dict[str, str]
    base_folder: Path
    base_key: str
    #: What stays open between rounds: what is merged in which way, and how it is closed.
    merging: tuple[tuple[Path, ...], Means] | None = None
    source: ScoreSource | None = None
    kept: ExitStack = field(default_factory=ExitStack)

    @property
    def setup(self) -> Setup:
        return self.targets.setup

    @cached_property
    def model(self) -> nn.Module:
        return self.setup.build()

    @cached_property
    def base(self) -> dict[str, Tensor]:
        return verified_state(self.base_folder)

    def scorers(self, tasks: tuple[Task, ...]) -> list[Scorer]:
        return [self.targets.scorer(target, split) for target, split in tasks]

    def opened(self, job: Merge) -> ScoreSource:
        """Return what scores a round: it is open already if the last round was of the same experts."""
        if self.source is None or self.merging != (job.experts, job.means):
            self.close()
            setup, names = self.setup, job.mixtures[0].datasets
            tasks = Bench(setup.build, setup.build, setup.version, [])
            experts = dict(zip(names, job.experts, strict=True))
            models = self.kept.enter_context(verified_models(self.base_folder, experts))
            source = ScoreSource(models, tasks, part_of(job.means, job.beside))
            self.source, self.merging = self.kept.enter_context(source), (job.experts, job.means)
        return self.source

    def close(self) -> None:
        """Close what is open."""
        self.kept.close()
        self.source = None


_bench: _Bench | None = None


def prepare(
    spec: Mapping[str, Any], root: Path, cache: Path, base: Path, contents: Mapping[str, str]
) -> None:
    """Set a process up for its jobs.

    Args:
        spec: The configuration's `[setup]` table.
        root: Folder that the table's relative paths start from.
        cache: Folder of fetched and prepared data.
        base: Checkpoint folder of θ₀.
        contents: Hashes of the set-up's parts that the run began with; empty where they are not known.

    Raises:
        DataError: If the run's folder is not seen here, or the data are no longer those that it began with.
    """
    global _bench
    targets = load_targets(spec, root, cache)
    found = targets.contents
    if not base.is_dir():
        raise DataError(
            f"{base} is not there on {os.uname().nodename}: all machines that work on a run must see its "
            "folder under the same path"
        )
    if contents and (changed := what_changed(contents, found)):
        raise DataError(f"[setup]: {changed} while the run was going on; give it a folder of its own")
    _bench = _Bench(targets, found, base, checkpoint_key(base))


def work(job: Train | Merge) -> list[Scores] | Iterator[tuple[MergingWeights, list[Scores]]]:
    """Do one job in a prepared process.

    Args:
        job: What to do.

    Returns:
        A trained model's scores, one a task of the job; a walk over such scores of merged models.

    Raises:
        RuntimeError: If `prepare` was not called in this process.
    """
    if _bench is None:
        raise RuntimeError("work() before prepare() in this process")
    return _train(_bench, job) if isinstance(job, Train) else _merge(_bench, job)


def _train(bench: _Bench, job: Train) -> list[Scores]:
    source = job.origin or made_from(job.mixture, job.seed, job.recipe, bench.base_key, bench.contents)
    if job.folder.exists():
        check_made_from(job.folder, source, noted=False)
        state = model_state(bench.base_folder, job.folder)
    else:
        state = _make(bench, job, source)
    return score_model(load_state(bench.model, state), bench.scorers(job.tasks))


def _make(bench: _Bench, job: Train, source: Mapping[str, Any]) -> dict[str, Tensor]:
    """Train, and write the model or adapter; returns the whole state."""
    kept = keeps_moments(job.mixture, job.recipe)
    place = job.folder.with_name(f"{job.folder.name}.saved")
    saved = SavedTraining(place, content_key(json.dumps(source, sort_keys=True)))
    trained = train(
        bench.setup, bench.base, job.mixture, job.recipe, job.seed, _told_steps, moments=kept, saved=saved
    )
    facts, texts = {KEY: source}, {CURVE_NAME: curve_text(trained.curve)}
    if trained.adapter is not None:
        base_model = getattr(bench.setup, "model_folder", None)
        save_adapter(trained.adapter, job.folder, base_model, texts=texts, facts=facts)
    else:
        notes = {"mixture": job.mixture.label, "seed": str(job.seed)}
        beside = {MOMENTS_NAME: trained.moments} if kept else None
        save(trained.state, job.folder, notes, facts=facts, beside=beside, texts=texts)
    saved.remove()
    return trained.state


def _told_steps(done: int, total: int, what: str) -> None:
    tell(done)


def _merge(bench: _Bench, job: Merge) -> Iterator[tuple[MergingWeights, list[Scores]]]:
    try:
        yield from bench.opened(job).scores(job.mixtures, bench.scorers(job.tasks))
    finally:
        if not job.more:
            bench.close()
