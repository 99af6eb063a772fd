"""All targets of a run: those that the set-up has data of, and those that a task judges."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m2m import setups
from m2m.errors import ConfigError
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.tasks import ByteTokens, Tokens
from m2m.scoring.tasks.judged import JudgedTarget, judged_target
from m2m.scoring.tasks.scorer import BatchedScorer, Scorer
from m2m.scoring.tasks.targets import TargetScorer
from m2m.setups.cached_trunk import CachedTrunkModel
from m2m.setups.huggingface import HuggingFaceModel
from m2m.setups.kept_activations import Windows
from m2m.setups.language import LanguageSetup
from m2m.setups.load import judged_tables
from m2m.setups.protocol import Setup, contents_of
from m2m.support.names import check_names
from m2m.support.progress import Progress


@dataclass(frozen=True)
class Targets:
    """What mixtures are judged on, by name: the set-up's targets first, then those with a task.

    Attributes:
        setup: The set-up: model, datasets, and targets that its own loss and metrics judge.
        judged: Targets that tasks judge.
    """

    setup: Setup
    judged: Mapping[str, JudgedTarget]

    @property
    def names(self) -> list[str]:
        """Names of all targets."""
        return [*self.setup.targets, *self.judged]

    @property
    def contents(self) -> dict[str, str]:
        """Content hashes of the set-up's parts, and of the targets that tasks judge."""
        judged = {f"target {name}": target.content for name, target in self.judged.items()}
        return contents_of(self.setup) | judged

    @property
    def versions(self) -> set[str]:
        """The versions that current scores have."""
        return {self.setup.version, *(self.version(name) for name in self.judged)}

    def versions_since(self, before: str) -> dict[str, str]:
        """Say which versions scores had when the set-up had another one, by old version: now theirs."""
        judged = {target.version_with(before): target.version for target in self.judged.values()}
        return {before: self.setup.version} | judged

    def metrics(self, target: str) -> Mapping[str, bool]:
        """Name a target's metrics, and whether higher is better; the first is the headline metric."""
        return self.judged[target].metrics if target in self.judged else self.setup.metrics

    def headline(self, target: str) -> tuple[str, bool]:
        """Return the metric that decides on a target, and whether higher is better."""
        return next(iter(self.metrics(target).items()))

    def version(self, target: str) -> str:
        """Return the content hash of a target's items, metrics and model: what its scores have as version."""
        return self.judged[target].version if target in self.judged else self.setup.version

    def count(self, target: str, split: str) -> int:
        """Return how many examples a target's split has; 0 for a function, which tells when it has run."""
        if target in self.judged:
            return getattr(self.judged[target].scorers[split], "count", 0)
        return len(getattr(self.setup.targets[target], split))

    def scorer(self, target: str, split: str) -> Scorer:
        """Make the task that scores a target.

        Args:
            target: The target's name.
            split: `validation` to choose on, `test` for finished models.

        Returns:
            The task.

        Raises:
            ConfigError: If there is no such target or split, or it has no examples.
        """
        if target in self.judged and split in self.judged[target].scorers:
            return self.judged[target].scorers[split]
        if target not in self.names:
            raise ConfigError(f"no target {target!r}; the set-up has {self.names}")
        return TargetScorer(self.setup, target, split)


def load_targets(
    spec: Mapping[str, Any], root: Path, cache: Path, progress: Progress | None = None
) -> Targets:
    """Load the set-up of a `[setup]` table, and all targets that mixtures may be judged on.

    Args:
        spec: The table.
        root: Folder that relative paths start from.
        cache: Folder of fetched and prepared data.
        progress: Told about downloads.

    Returns:
        The targets, and the set-up with them; the items of tasks are read, the harness's tasks loaded.

    Raises:
        ConfigError: If a target's table is not what its task reads, or its name is taken.
        DataError: If there are fewer items than wanted, or none in a split.
    """  # noqa: DOC502 - partly raised by what is called
    setup, tables = setups.load(spec, root, cache, progress), judged_tables(spec)
    check_names(tables, "[setup.targets]: target")
    for name in tables:
        if name in setup.targets:
            raise ConfigError(f"[setup.targets.{name}]: the set-up has a target of that name of its own")

    @functools.cache
    def tokens() -> Tokens:
        return tokens_of(setup)

    judged = {name: judged_target(name, table, root, tokens, setup.version) for name, table in tables.items()}
    return Targets(_with_trunk_run(setup, judged), judged)


def tokens_of(setup: Setup) -> Tokens:
    """Find how a set-up's model reads text; a Hugging Face model's tasks may use its whole context."""
    model = getattr(setup, "language_model", None)
    if isinstance(model, HuggingFaceModel):
        return _folder_of(model, HuggingFaceFolder)
    if isinstance(model, CachedTrunkModel):
        return _folder_of(model.whole, _TopOfFolder)
    if model is None:
        raise ConfigError(
            "the set-up is of no language model, so it is not known how it reads text: a function of yours "
            '(`task = "FILE.py:FUNCTION"`) can judge any model, `classify` tensors of a safetensors file'
        )
    return ByteTokens(setup.build(), model.context)


class _TopOfFolder(HuggingFaceFolder):
    """A folder of whose model the top alone runs, which gives logits where they are wanted."""

    learnt_name = "learnt"


def _folder_of(model: HuggingFaceModel, kind: type[HuggingFaceFolder]) -> HuggingFaceFolder:
    return kind(model.folder, trust=model.trust_remote_code, template=model.chat_template)


def _with_trunk_run(setup: Setup, judged: Mapping[str, JudgedTarget]) -> Setup:
    """Have what a trunk makes of the tasks' rows kept like that of the set-up's own examples."""
    model = getattr(setup, "language_model", None)
    if not isinstance(model, CachedTrunkModel) or not isinstance(setup, LanguageSetup):
        return setup
    scorers = [scorer for target in judged.values() for scorer in target.scorers.values()]
    rows = [_rows(scorer) for scorer in scorers if isinstance(scorer, BatchedScorer)]
    windows = [Windows.joined(parts) for parts in rows if parts]
    return replace(setup, language_model=model.foreseeing(windows))


def _rows(scorer: BatchedScorer) -> list[Windows]:
    name, wanted = _TopOfFolder.input_name, _TopOfFolder.learnt_name
    batches = [batch.inputs for batch in scorer.batches()]
    return [Windows.asked(batch[name], batch[wanted]) for batch in batches if wanted in batch]
