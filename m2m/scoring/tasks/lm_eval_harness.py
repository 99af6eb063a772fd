"""Tasks of EleutherAI's lm-evaluation-harness, run on the live module (extra `lm-eval`)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from m2m.checkpoint.hugging_face import nobody_to_ask
from m2m.errors import ConfigError
from m2m.scoring.tasks.inputs import PREDICT_TEXT, Tokens, require_head
from m2m.scoring.tasks.scorer import Scores, same_draws, scoring, whole_of
from m2m.scoring.tasks.task_options import HarnessOptions, number_of
from m2m.setups.rows.items import Item
from m2m.support.doors import reading
from m2m.support.extras import installing

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
    has several filters. The tokens must come from a Hugging Face tokenizer. Prompts are written once, for the
    first model; the harness's progress bars are shown for that one only.
    """

    split = "validation"

    def __init__(
        self,
        task: Any,
        tokens: Tokens,
        options: HarnessOptions,
        limit: int | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        from lm_eval.api.metrics import mean

        require_head(f"lm_eval:{task.task_name}", tokens, *PREDICT_TEXT)
        self.task = f"lm_eval:{task.task_name}"
        self._task, self._options, self._limit = _own_copy(task), options, limit
        self._asked = False
        self._numbers = None if numbers is None else sorted(numbers)
        self._tokens = tokens
        self._tokenizer, self._context = getattr(tokens, "tokenizer", None), tokens.context
        if self._tokenizer is None:
            raise ConfigError(f"the task {self.task} needs a model with a tokenizer (a Hugging Face folder)")
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
        self.version = _version(task, options, limit, self._numbers, self._template)

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
        named = self._options.apply_chat_template
        wrapped = HFLM(
            pretrained=model, tokenizer=self._tokenizer, batch_size=self._options.batch_size,
            max_length=self._context,
            chat_template_args={"chat_template": named} if isinstance(named, str) else {},
        )  # fmt: skip
        with scoring(model), same_draws(), self._prompts_written_once(wrapped):
            found = evaluate(
                wrapped,
                {"tasks": {self._task.task_name: self._task}, "groups": {}, "group_map": {}},
                limit=self._limit,
                samples=None if self._numbers is None else {self._task.task_name: self._numbers},
                cache_requests=False,
                bootstrap_iters=0,
                log_samples=True,
                verbosity=None,
                system_instruction=self._options.system_instruction,
                apply_chat_template=named,
                fewshot_as_multiturn=self._options.multiturn,
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
        return HarnessScorer(self._task, self._tokens, self._options, numbers=numbers)

    def with_validation_split(self) -> HarnessScorer | None:
        """Return the task on its own validation split, if it has that beside a test split."""
        if not (self._task.has_validation_docs() and self._task.has_test_docs()):
            return None
        task = _own_copy(self._task)
        task._config.test_split = None  # the harness scores the test split where a task has one
        return HarnessScorer(task, self._tokens, self._options)

    @property
    def _template(self) -> str | None:
        # The chat template, where one is asked for.
        named, tokenizer = self._options.apply_chat_template, self._tokenizer
        if not named or tokenizer is None:
            return None
        name = named if isinstance(named, str) else None
        with reading(f"a model with a chat template{f' {name!r}' if name else ''}", "the base", ConfigError):
            template: str = tokenizer.get_chat_template(name)
        return template

    @contextmanager
    def _prompts_written_once(self, wrapped: Any) -> Iterator[None]:
        # The harness writes them anew at every evaluation, and shows a bar for that and one for the answers.
        if not self._asked:
            self._task.set_fewshot_seed(seed=FEW_SHOT_SEED)
            yield
            self._asked = True
            return
        for instance in self._task.instances:
            instance.resps, instance.filtered_resps = [], {}
        self._task.build_all_requests = lambda **_: None
        for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
            setattr(wrapped, kind, partial(getattr(wrapped, kind), disable_tqdm=True))
        try:
            yield
        finally:
            del self._task.build_all_requests

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
    names: Sequence[str],
    tokens: Tokens,
    options: HarnessOptions | None = None,
    *,
    include: Path | None = None,
    limit: float | None = None,
) -> list[HarnessScorer]:
    """Find tasks of the harness.

    Args:
        names: Names of tasks, groups and tags, and patterns of them (`mmlu_*`).
        tokens: The model's tokens.
        options: What is said about them.
        include: Folder of YAML task files, in place of the harness's own.
        limit: Most examples of each task, or their share if below 1; None for all.

    Returns:
        The tasks, each once.

    Raises:
        ConfigError: If the harness is not installed, has no such task, or cannot load it.
    """
    name, told = ",".join(names), options or HarnessOptions()
    try:
        from lm_eval.tasks import TaskManager
        from lm_eval.utils import simple_parse_args_string
    except ImportError as error:
        raise ConfigError(
            f"the task lm_eval:{name} needs the lm-evaluation-harness: {installing('lm-eval')}"
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
        loaded = manager.load([found for each in names for found in _matching(each, manager)])
        settings = simple_parse_args_string(told.gen_kwargs)
    for task in loaded["tasks"].values():
        _tell(task, told.num_fewshot, settings)
    # Said in examples: what is scored is then known by the same version as with their number.
    return [
        HarnessScorer(task, tokens, told, number_of(limit, len(task.eval_docs)))
        for task in loaded["tasks"].values()
    ]


def _matching(name: str, manager: Any) -> list[str]:
    if not any(sign in name for sign in "*?["):
        return [name]
    found: list[str] = sorted(manager.match_tasks([name]))
    if not found:
        raise ConfigError(f"the task lm_eval:{name}: no task of the harness has such a name")
    return found


def _tell(task: Any, num_fewshot: int | None, settings: Mapping[str, Any]) -> None:
    # As the harness's own command does: a task that says 0 examples has a reason.
    own = task.get_config("num_fewshot")
    if own is None or (num_fewshot is not None and own != 0):
        task.set_config(key="num_fewshot", value=num_fewshot or 0)
    if settings and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value=dict(settings), update=True)


def _own_copy(task: Any) -> Any:
    own = copy(task)
    own._config = copy(task.config)
    return own


def _version(
    task: Any, options: HarnessOptions, limit: int | None, numbers: Sequence[int] | None, template: str | None
) -> str:
    from lm_eval import __version__

    content = hashlib.sha256(f"lm_eval {__version__} {limit} {FEW_SHOT_SEED} {options.batch_size}".encode())
    if template is not None or options.system_instruction is not None or options.multiturn:
        content.update(repr((template, options.system_instruction, options.multiturn)).encode())
    if numbers is not None:
        content.update(f" {list(numbers)}".encode())
    definition = task.dump_config()
    content.update(json.dumps(definition, sort_keys=True, default=str).encode())
    for example in task.eval_docs:
        content.update(json.dumps(example, sort_keys=True, default=str).encode())
    return content.hexdigest()[:16]
