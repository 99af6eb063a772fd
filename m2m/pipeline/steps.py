"""What every way to a mixture does over a run folder: make the base, train, merge, score, each thing once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from torch import nn

from m2m.checkpoint import save, verified_state
from m2m.data import cache_dir
from m2m.errors import InputError
from m2m.executors.protocol import Executor
from m2m.mixture import MergingWeights, Mixture
from m2m.pipeline.config import RunConfig
from m2m.pipeline.crew import Crew
from m2m.pipeline.elsewhere import Elsewhere
from m2m.pipeline.first_look import check_experts
from m2m.pipeline.provenance import KEY, check_base, check_made_from, checkpoint_key, made_from
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.worker import Task, Train
from m2m.scoring import Means, Scores, ScoreSource, Targets, load_targets, score_model
from m2m.scoring.table import ScoreTable
from m2m.setups.protocol import Setup, load_state
from m2m.support.content_keys import content_key
from m2m.support.progress import Progress, timed


def load_setup(config: RunConfig, progress: Progress | None) -> Targets:
    """Load a configuration's set-up and targets; what is wrong with them is said with the file's name.

    Args:
        config: The run configuration.
        progress: Called with (done, total, step).

    Returns:
        The targets, and the set-up with them.

    Raises:
        ConfigError: If experts are given that are not the set-up's, or not all of them.
    """  # noqa: DOC502 - raised by what is called
    try:
        targets = load_targets(config.setup, config.root, cache_dir(), progress)
    except InputError as error:
        raise type(error)(f"{config.path}: {error}") from error
    check_experts(config, targets.setup.datasets)
    return targets


@dataclass
class RunSteps:
    """Steps over one run folder; what the folder or the table already holds is not done again.

    Attributes:
        config: The run configuration.
        targets: What mixtures are judged on, and the set-up.
        contents: Content hashes of the set-up's parts and of the targets.
        folder: The run folder, claimed.
        table: Where scores go.
        executor: Where it trains and merges.
        progress: Called with (done, total, step).
        means: In which way merged models are scored, and what all workers of a machine may use.
        seconds: Wall seconds by step.
    """

    config: RunConfig
    targets: Targets
    contents: Mapping[str, str]
    folder: RunFolder
    table: ScoreTable
    executor: Executor
    progress: Progress
    means: Means
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def setup(self) -> Setup:
        """The set-up."""
        return self.targets.setup

    @property
    def datasets(self) -> list[str]:
        """The N dataset names."""
        return list(self.setup.datasets)

    @property
    def experts(self) -> list[Mixture]:
        """The N single datasets."""
        return [Mixture.subset(self.datasets, [name]) for name in self.datasets]

    @property
    def crew(self) -> Crew:
        """Who trains and merges."""
        base, spec, root = self.folder.base, self.config.setup, self.config.root
        return Crew(spec, root, base, self.contents, self.executor, self.progress)

    def timed(self, step: str) -> AbstractContextManager[None]:
        """Add the block's wall seconds to the step's."""
        return timed(self.seconds, step)

    def base(self, tasks: Sequence[Task]) -> None:
        """Make θ₀ and score it.

        Args:
            tasks: What to score it on.
        """
        with self.timed("base"):
            version = self.contents["version"]
            if self.folder.base.exists():
                earlier = [before["version"] for before in self.folder.grew]
                check_base(self.folder.base, [version, *earlier], noted=self.folder.origins_noted)
            else:
                state, source = self.setup.base_state(cache_dir(), self.progress), {"setup": version}
                save(state, self.folder.base, {"mixture": "base"}, facts={KEY: source})
            key = self.trained_key(self.folder.base)
            missing = [task for task in tasks if not self.scored(key, task)]
            scorers = [self.targets.scorer(target, split) for target, split in missing]
            self.record(None, "base", None, key, missing, score_model(self.base_model(), scorers))
            self.table.set_aside("base", self.targets.versions, {("base", None): key})

    def base_model(self) -> nn.Module:
        """Return a live module with θ₀ in it."""
        return load_state(self.setup.build(), verified_state(self.folder.base))

    def train(
        self, mixtures: Sequence[Mixture], seeds: Sequence[int], tasks: tuple[Task, ...], step: str
    ) -> None:
        """Train the mixtures that are not trained, and score them where they are not scored.

        Where experts are given they stand for the run's first seed, and none is trained with another.

        Args:
            mixtures: What to train on.
            seeds: Training seeds that each mixture gets.
            tasks: What to score the models on.
            step: What progress calls it.
        """
        jobs, base = [], checkpoint_key(self.folder.base)
        wanted = [
            (seed, mixture) for seed, mixture in product(seeds, mixtures) if self.is_made(mixture, seed)
        ]
        elsewhere = Elsewhere(self.config, self.setup, self.contents, self.folder, self.progress)
        origins = elsewhere.bring([(mixture, seed) for seed, mixture in wanted], step)
        for seed, mixture in wanted:
            folder, key, origin = self.folder.model(mixture, seed), None, origins[mixture, seed]
            if folder.exists():
                source = origin or made_from(mixture, seed, self.config.train, base, self.contents)
                check_made_from(folder, source, noted=self.folder.origins_noted)
                key = self.trained_key(folder)
            missing = tuple(task for task in tasks if key is None or not self.scored(key, task))
            if missing or key is None:
                jobs.append(Train(mixture, seed, self.config.train, folder, missing, origin))
        for job, scores in self.crew.train(jobs, step):
            self.record(job.mixture, "trained", job.seed, self.trained_key(job.folder), job.tasks, scores)
        models: dict[tuple[str, int | None], Path] = {
            (m.label, seed): self.folder.model(m, seed) for seed, m in wanted
        }
        current = {who: self.trained_key(folder) for who, folder in models.items()}
        self.table.set_aside("trained", self.targets.versions, current)

    def is_made(self, mixture: Mixture, seed: int) -> bool:
        """Say whether a model is trained, or given: of given experts there is one, and no other seed's."""
        return not self.config.experts or len(mixture.members) > 1 or seed == self.config.run.seed

    def merge(
        self,
        mixtures: Sequence[MergingWeights],
        tasks: Sequence[Task],
        step: str,
        source: ScoreSource | None = None,
    ) -> list[str]:
        """Score merged models where they are not scored; the experts must have been trained.

        Args:
            mixtures: The candidates, merged at α = λ, or other weights of the experts. [M]
            tasks: What to score them on.
            step: What progress calls it.
            source: Experts that are open in this process, scored on just these tasks; None: workers do it.

        Returns:
            The content keys of the merged models. [M]
        """
        experts = tuple(self.folder.model(mixture, self.config.run.seed) for mixture in self.experts)
        base, made_of = checkpoint_key(self.folder.base), [checkpoint_key(folder) for folder in experts]
        device = self.means.device.type
        rule = "merged" if device == "cpu" else f"merged on {device}"
        keys = {
            # Of its members alone: a dataset that comes later makes no other model of them.
            mixture.key: content_key(
                rule, base, [pair for pair in zip(made_of, mixture.weights, strict=True) if pair[1]]
            )
            for mixture in mixtures
        }
        wanted = defaultdict[tuple[Task, ...], list[MergingWeights]](list)
        for mixture in {mixture.key: mixture for mixture in mixtures}.values():
            if missing := tuple(task for task in tasks if not self.scored(keys[mixture.key], task)):
                wanted[missing].append(mixture)
        if source is None:
            found = self.crew.merge(wanted, experts, step, self.means)
        else:
            new = [mixture for group in wanted.values() for mixture in group]
            found = ((mixture, tuple(tasks), scores) for mixture, scores in source.scores(new))
        for mixture, missing, scores in found:
            self.record(mixture, "merged", None, keys[mixture.key], missing, scores)
        current: dict[tuple[str, int | None], str] = {
            (mixture.label, None): keys[mixture.key] for mixture in mixtures
        }
        self.table.set_aside("merged", self.targets.versions, current)
        return [keys[mixture.key] for mixture in mixtures]

    def trained_key(self, folder: Path) -> str:
        """Return the content key of a checkpoint that is scored as it is.

        Args:
            folder: The checkpoint.

        Returns:
            The key.
        """
        return content_key("trained", checkpoint_key(folder))

    def scored(self, key: str, task: Task) -> bool:
        """Return whether the table has a model's scores on a task.

        Args:
            key: Content key of the model.
            task: The target and the split.

        Returns:
            True if it has.
        """
        return self.table.has(key, *task, self.targets.version(task[0]))

    def record(
        self,
        mixture: MergingWeights | None,
        origin: str,
        seed: int | None,
        key: str,
        tasks: Sequence[Task],
        scores: Sequence[Scores],
    ) -> None:
        """Write a model's scores to the table.

        Args:
            mixture: What it was merged or trained from; None for the base model.
            origin: `base`, `merged` or `trained`.
            seed: Training seed, or None.
            key: Content key of the model.
            tasks: What it was scored on.
            scores: Its scores, one a task.
        """
        for (target, split), score in zip(tasks, scores, strict=True):
            version, metrics = self.targets.version(target), self.targets.metrics(target)
            self.table.add(key, mixture, origin, seed, target, split, version, score, metrics)
