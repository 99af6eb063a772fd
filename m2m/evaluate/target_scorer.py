"""Score a module on one of a set-up's targets."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from m2m.errors import ConfigError
from m2m.evaluate.mode import scoring
from m2m.evaluate.scorer import Scores
from m2m.setups.protocol import Examples, Setup


class TargetScorer:
    """A set-up's target as a task (see `Scorer`): each metric of each of its examples.

    Args:
        setup: The set-up that has the target.
        target: The target's name.
        split: `validation` to choose on, `test` for finished models.

    Attributes:
        task: The target's name.
        split: The split's name.
        version: The set-up's content hash.
        metrics: The set-up's metrics.

    Raises:
        ConfigError: If there is no such target or split, or it has no examples.
    """

    def __init__(self, setup: Setup, target: str, split: str = "validation") -> None:
        if target not in setup.targets:
            raise ConfigError(f"no target {target!r}; the set-up has {list(setup.targets)}")
        if split not in ("validation", "test"):
            raise ConfigError(f"a target is scored on 'validation' or 'test', got {split!r}")
        self.task, self.split, self.version, self.metrics = target, split, setup.version, setup.metrics
        self._setup = setup
        self._examples: Examples = getattr(setup.targets[target], split)
        if not len(self._examples):
            raise ConfigError(f"target {target!r} has no {split} examples")

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now.

        Args:
            model: The live module; its weights and modes are left as they were.

        Returns:
            Each metric's value for each example, in the order of the examples.
        """
        values: dict[str, list[Tensor]] = defaultdict(list)
        with scoring(model):
            for batch in self._examples.batches(self._setup.batch_size):
                for metric, value in self._setup.score(model, batch).items():
                    values[metric].append(value)
        return Scores({metric: torch.cat(parts).double().cpu().numpy() for metric, parts in values.items()})
