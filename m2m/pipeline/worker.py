"""What runs in a worker process of a run: train a mixture, merge a candidate, and score the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from m2m import setups
from m2m.checkpoint import save, verified_state
from m2m.errors import DataError
from m2m.mixture import Mixture
from m2m.pipeline.provenance import KEY, check_made_from, checkpoint_key, made_from
from m2m.pipeline.run_folder import what_changed
from m2m.scoring import LiveModel, Scores, TargetScorer, score_model
from m2m.setups.protocol import Setup, contents_of, load_state
from m2m.training import TrainRecipe, fine_tune

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
    """

    mixture: Mixture
    seed: int
    recipe: TrainRecipe
    folder: Path
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Merge:
    """Average experts with the mixture's weights (α = λ), then score the merged model.

    Attributes:
        mixture: The candidate.
        experts: Checkpoint folder of each dataset's expert. [N]
        tasks: What to score it on.
    """

    mixture: Mixture
    experts: tuple[Path, ...]
    tasks: tuple[Task, ...]


@dataclass
class _Bench:
    """One process's set-up, live module and the checkpoints it has read."""

    setup: Setup
    contents: dict[str, str]
    model: nn.Module
    base: dict[str, Tensor]
    base_key: str
    live: dict[tuple[Path, ...], LiveModel]

    def merged(self, experts: tuple[Path, ...], weights: tuple[float, ...]) -> nn.Module:
        if experts not in self.live:  # checked against each other once a process
            states = [verified_state(folder) for folder in experts]
            self.live[experts] = LiveModel(self.model, self.base, states)
        self.live[experts].merge([weights])
        return self.model

    def scorers(self, tasks: tuple[Task, ...]) -> list[TargetScorer]:
        return [TargetScorer(self.setup, target, split) for target, split in tasks]


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
        DataError: If the data are no longer those that the run began with.
    """
    global _bench
    setup = setups.load(spec, root, cache)
    found = contents_of(setup)
    if contents and (changed := what_changed(contents, found)):
        raise DataError(f"[setup]: {changed} while the run was going on; give it a folder of its own")
    _bench = _Bench(setup, found, setup.build(), verified_state(base), checkpoint_key(base), {})


def work(job: Train | Merge) -> list[Scores]:
    """Do one job in a prepared process.

    Args:
        job: What to do.

    Returns:
        The model's scores, one a task of the job.

    Raises:
        RuntimeError: If `prepare` was not called in this process.
    """
    if _bench is None:
        raise RuntimeError("work() before prepare() in this process")
    return _train(_bench, job) if isinstance(job, Train) else _merge(_bench, job)


def _train(bench: _Bench, job: Train) -> list[Scores]:
    source = made_from(job.mixture, job.seed, job.recipe, bench.base_key, bench.contents)
    if job.folder.exists():
        check_made_from(job.folder, source, noted=False)
        state = verified_state(job.folder)
    else:
        state = fine_tune(bench.setup, bench.base, job.mixture, job.recipe, job.seed)
        notes = {"mixture": job.mixture.label, "seed": str(job.seed)}
        save(state, job.folder, notes, facts={KEY: source})
    return score_model(load_state(bench.model, state), bench.scorers(job.tasks))


def _merge(bench: _Bench, job: Merge) -> list[Scores]:
    return score_model(bench.merged(job.experts, job.mixture.weights), bench.scorers(job.tasks))
