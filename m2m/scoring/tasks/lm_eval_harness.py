"""Tasks of EleutherAI's lm-evaluation-harness, run on the live module (extra `lm-eval`)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from m2m.checkpoint.hugging_face import nobody_to_ask
from m2m.errors import ConfigError
from m2m.scoring.tasks.inputs import Tokens
from m2m.scoring.tasks.scorer import Scores, scoring, whole_of
from m2m.setups.rows.items import Item
from m2m.support.doors import reading

#: Rows a batch of the harness.
BATCH_SIZE = 8
#: Seed of the few-shot examples: the harness's own default.
FEW_SHOT_SEED = 1234


class HarnessScorer:
    """One task of the harness as a `Scorer`, every example's value kept; refused without means over examples.

    The module is scored where it is, without a copy on disk. The harness's response cache is keyed by the
    request alone and would give one mixture's answers for the next, so it is never used: the harness's
    `evaluate` is called, which knows no such cache, and not its command.

    The split is `validation`, whichever split of its own the harness scores. With `numbers` only those of its
    examples are scored. The version hashes the task's definition, its examples and the harness's version. The
    metrics are those that are means over examples; one that a filter makes is `METRIC@FILTER` where the task
    has several filters. The tokens must come from a Hugging Face tokenizer.
    """

    split = "validation"

    def __init__(
        self, task: Any, tokens: Tokens, limit: int | None = None, numbers: Sequence[int] | None = None
    ) -> None:
        from lm_eval.api.metrics import mean

        self.task = f"lm_eval:{task.task_name}"
        self._task, self._limit = task, limit
        self._numbers = None if numbers is None else sorted(numbers)
        self._tokens = tokens
        self._tokenizer, self._context = getattr(tokens, "tokenizer", None), tokens.context
        if self._tokenizer is None:
            raise ConfigError(f"the task {self.task} needs a model with a tokenizer (a Hugging Face folder)")
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        self._filters = [chain.name for chain in task._filters]
        means = [name for name, how in task.aggregation().items() if how is mean]
        higher = {name: bool(better) for name, better in task.higher_is_better().items()}
        self.metrics: Mapping[str, bool] = {
            self._metric(name, chain): higher.get(name, True) for chain in self._filters for name in means
        }
        if not self.metrics:
            raise ConfigError(
                f"the task {self.task}: none of its metrics {list(task.aggregation())} is a mean of examples"
            )
        self.version = _version(task, limit, self._numbers)

    def __call__(self, model: nn.Module) -> Scores:
        """Score a `transformers.PreTrainedModel`, or the top of one, as it is now; its modes are left."""
        from lm_eval.evaluator import evaluate
        from lm_eval.models.huggingface import HFLM
        from transformers import PreTrainedModel

        model = whole_of(model)
        if not isinstance(model, PreTrainedModel):
            raise ConfigError(
                f"the task {self.task} needs a model of transformers, got a {type(model).__name__}"
            )
        wrapped = HFLM(
            pretrained=model, tokenizer=self._tokenizer, batch_size=BATCH_SIZE, max_length=self._context
        )
        # Else each model would be asked with examples of its own, drawn where the last one's ended.
        self._task.set_fewshot_seed(seed=FEW_SHOT_SEED)
        with scoring(model):
            found = evaluate(
                wrapped,
                {"tasks": {self._task.task_name: self._task}, "groups": {}, "group_map": {}},
                limit=self._limit,
                samples=None if self._numbers is None else {self._task.task_name: self._numbers},
                cache_requests=False,
                bootstrap_iters=0,
                log_samples=True,
                verbosity=None,
            )
        return self._scores(found["samples"][self._task.task_name])

    @property
    def contents(self) -> list[str]:
        """The task's examples, as JSON. [E]."""
        return [json.dumps(example, sort_keys=True, default=str) for example in self._task.eval_docs]

    @property
    def items(self) -> list[Item]:
        """What can be compared of the task's examples: all texts that are in one. [E]."""
        texts = ("\n".join(_texts(example)) for example in self._task.eval_docs)
        return [Item(text, "", f"{self.task}, example {at}") for at, text in enumerate(texts)]

    def with_examples(self, numbers: Sequence[int]) -> HarnessScorer:
        """Return the task on some of its examples, by number."""
        return HarnessScorer(self._task, self._tokens, numbers=numbers)

    def with_validation_split(self) -> HarnessScorer | None:
        """Return the task on its own validation split, if it has that beside a test split."""
        if not (self._task.has_validation_docs() and self._task.has_test_docs()):
            return None
        task = copy(self._task)
        task._config = copy(self._task.config)
        task._config.test_split = None  # the harness scores the test split where a task has one
        return HarnessScorer(task, self._tokens)

    def _scores(self, samples: list[dict[str, Any]]) -> Scores:
        values: dict[str, list[float]] = {metric: [] for metric in self.metrics}
        for sample in sorted(samples, key=lambda sample: int(sample["doc_id"])):
            for name in sample["metrics"]:
                metric = self._metric(name, sample["filter"])
                if metric in values:
                    values[metric].append(float(sample[name]))
        return Scores({metric: np.array(value, dtype=np.float64) for metric, value in values.items()})

    def _metric(self, name: str, chain: str) -> str:
        return f"{name}@{chain}" if len(self._filters) > 1 else name


def _texts(part: Any) -> Iterator[str]:
    """Walk over the texts in a part of an example."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping | list | tuple):
        for inner in part.values() if isinstance(part, Mapping) else part:
            yield from _texts(inner)


def load_harness_tasks(
    name: str, tokens: Tokens, *, include: Path | None = None, limit: int | None = None
) -> list[HarnessScorer]:
    """Find a task, or all of a group or tag, of the harness; or of `include`, a folder of YAML task files."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ConfigError(
            f'the task lm_eval:{name} needs the lm-evaluation-harness: pip install "m2m[lm-eval]"'
        ) from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it greets at every evaluation
    if include is not None and not include.is_dir():
        raise ConfigError(f"there is no folder {include} with task files")
    manager = TaskManager(
        include_path=None if include is None else str(include), include_defaults=include is None
    )
    with (
        reading("a task that the lm-evaluation-harness can load", f"lm_eval:{name}", ConfigError),
        nobody_to_ask(),
    ):
        loaded = manager.load([name])
    return [HarnessScorer(task, tokens, limit) for task in loaded["tasks"].values()]


def _version(task: Any, limit: int | None, numbers: Sequence[int] | None) -> str:
    from lm_eval import __version__

    content = hashlib.sha256(f"lm_eval {__version__} {limit} {FEW_SHOT_SEED} {BATCH_SIZE}".encode())
    if numbers is not None:
        content.update(f" {list(numbers)}".encode())
    definition = task.dump_config()
    content.update(json.dumps(definition, sort_keys=True, default=str).encode())
    for example in task.eval_docs:
        content.update(json.dumps(example, sort_keys=True, default=str).encode())
    return content.hexdigest()[:16]
