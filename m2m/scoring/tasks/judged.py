"""A target that a task judges: from its table to one scorer a split, on items that are validation or test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from m2m.errors import ConfigError, InputError
from m2m.scoring.tasks.classification import ClassificationScorer
from m2m.scoring.tasks.function_scorer import FunctionScorer, HalfOfFunction
from m2m.scoring.tasks.generation import (
    EXACT_MATCH,
    GenerationScorer,
    read_prompts,
    users_judge,
)
from m2m.scoring.tasks.halves import halves, some
from m2m.scoring.tasks.inputs import Tokens, json_lines, text_of
from m2m.scoring.tasks.judged_options import OF_FILES, JudgedOptions
from m2m.scoring.tasks.likelihood import MultipleChoiceScorer, read_questions
from m2m.scoring.tasks.load import check_python
from m2m.scoring.tasks.scorer import Scorer, SomeExamples
from m2m.scoring.tasks.task_options import HarnessOptions
from m2m.setups.protocol import Split
from m2m.setups.rows.items import Item
from m2m.support.content_keys import content_key
from m2m.support.options import key_names, read_options
from m2m.support.schema import did_you_mean

#: Both splits.
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class JudgedTarget:
    """A target and its judge.

    Attributes:
        scorers: The task on the items of each split; both have the target's name, version and metrics.
        metrics: Metric name to whether higher is better; the first is the headline metric.
        content: Hash of items, options and metric definitions of both splits.
        version: Hash of that and of the model's reading: the version of its scores.
        items: What can be compared of each split's items; nothing where they are no text that is known.
    """

    scorers: Mapping[str, Scorer]
    metrics: Mapping[str, bool]
    content: str
    version: str
    items: Mapping[str, Sequence[Item]]

    def version_with(self, model: str) -> str:
        """Return the version of its scores where the set-up's is `model`."""
        return _version(model, self.content)


@dataclass(frozen=True)
class _Pool:
    """Items of one origin.

    Attributes:
        contents: What decides where each item belongs. [E]
        make: Makes the task on some of them.
        items: What can be compared of them; empty where they are no text that is known. [E]
    """

    contents: Sequence[str]
    make: Callable[[Sequence[int]], Scorer]
    items: Sequence[Item] = ()


def judged_target(
    name: str, table: Mapping[str, object], root: Path, tokens: Callable[[], Tokens], model: str
) -> JudgedTarget:
    """Read a target's table, and its items.

    Args:
        name: The target's name.
        table: Its table, with a `task`.
        root: Folder that relative paths start from.
        tokens: Gives the model's tokens, or raises an error that says why there are none.
        model: Content hash of what is judged besides weights: part of the scores' version.

    Returns:
        The target.

    Raises:
        InputError: If a file is not what the task reads.
        ConfigError: If a key is unknown, missing, or none of the task's.
        DataError: If there are fewer items than wanted, or none in a split.
    """  # noqa: DOC502 - raised by what is called
    where = f"[setup.targets.{name}]"
    options = JudgedOptions.parse(table, where)
    kind = options.task.partition(":")[0]
    try:
        if kind in OF_FILES:
            found = _of_files(options, root, tokens, where)
        elif kind == "lm_eval":
            told = {key: table[key] for key in key_names(HarnessOptions) if key in table}
            found = _of_harness(options, read_options(HarnessOptions, told, where), root, tokens, where)
        else:
            found = _of_function(options, root, where)
        return _named(name, found, options.metric, model, where)
    except InputError as error:
        if str(error).startswith(where):
            raise
        raise type(error)(f"{where}: {error}") from error


def _of_files(
    options: JudgedOptions, root: Path, tokens: Callable[[], Tokens], where: str
) -> dict[Split, tuple[_Pool, list[int]]]:
    pools = [_pool(options, root / path, root, tokens) for path in options.files]
    if len(pools) == 1:
        return _halved(pools[0], options, where)
    return {
        split: (pool, some(range(len(pool.contents)), pool.contents, wanted, f"{where}, {split}"))
        for split, pool, wanted in zip(SPLITS, pools, (options.validation, options.test), strict=True)
    }


def _halved(pool: _Pool, options: JudgedOptions, where: str) -> dict[Split, tuple[_Pool, list[int]]]:
    found = halves(pool.contents)
    what = f"of {len(pool.contents)} items, split by their hash"
    return {
        split: (pool, some(found[split], pool.contents, wanted, f"{where}, {split} {what}"))
        for split, wanted in zip(SPLITS, (options.validation, options.test), strict=True)
    }


def _pool(options: JudgedOptions, path: Path, root: Path, tokens: Callable[[], Tokens]) -> _Pool:
    task = f"{options.task}:{path.name}"
    if options.task == "choice":
        questions = read_questions(path)
        asked = MultipleChoiceScorer(task, questions, tokens(), chat=options.chat)
        items = [Item(q.context, q.choices[q.answer], q.where) for q in questions]
        return _Pool([" ".join(item.texts) for item in items], _part_of(asked), items)
    if options.task == "classify":
        texts = path.suffix != ".safetensors"
        classes = ClassificationScorer.read(path, tokens() if texts else None, limit=None)
        rows = json_lines(path) if texts else {}
        items = [Item(text_of(row, ("text",), at), "", at) for at, row in rows.items()]
        return _Pool([item.question for item in items] or classes.contents, _part_of(classes), items)
    judge = EXACT_MATCH if options.judge is None else users_judge(options.judge, root)
    prompts, known = read_prompts(path, judge), tokens()

    def write(numbers: Sequence[int]) -> Scorer:
        chosen = [prompts[at] for at in numbers]
        return GenerationScorer(
            task, chosen, known, judge, most=options.max_new_tokens, stop=options.stop, chat=options.chat
        )

    items = [Item(p.text, _answer(p.row), p.where) for p in prompts]
    return _Pool([" ".join(item.texts).strip() for item in items], write, items)


def _answer(row: Mapping[str, object]) -> str:
    answer = row.get("answer", "")
    return (
        answer if isinstance(answer, str) else " ".join(map(str, answer if isinstance(answer, list) else ()))
    )


def _part_of(whole: MultipleChoiceScorer | ClassificationScorer) -> Callable[[Sequence[int]], Scorer]:
    def make(numbers: Sequence[int]) -> Scorer:
        part = SomeExamples(whole, numbers)
        part.version = content_key(whole.version, list(numbers))
        return part

    return make


def _of_harness(
    options: JudgedOptions, told: HarnessOptions, root: Path, tokens: Callable[[], Tokens], where: str
) -> dict[Split, tuple[_Pool, list[int]]]:
    from m2m.scoring.tasks.lm_eval_harness import HarnessScorer, load_harness_tasks

    name = options.task.partition(":")[2]
    folder = None if options.lm_eval_tasks is None else root / options.lm_eval_tasks
    tasks = load_harness_tasks([name], tokens(), told, include=folder)
    if len(tasks) != 1:
        names = ", ".join(task.task for task in tasks)
        raise ConfigError(
            f"{where}: {options.task} is a group of {len(tasks)} tasks, a target has one: {names}"
        )

    def pool(task: HarnessScorer) -> _Pool:
        return _Pool(task.contents, task.with_examples, task.items)

    whole, validation = tasks[0], tasks[0].with_validation_split()
    if validation is None:
        return _halved(pool(whole), options, where)
    pools = {"validation": (pool(validation), options.validation), "test": (pool(whole), options.test)}
    return {
        split: (items, some(range(len(items.contents)), items.contents, wanted, f"{where}, {split}"))
        for split, (items, wanted) in ((split, pools[split]) for split in SPLITS)
    }


def _of_function(options: JudgedOptions, root: Path, where: str) -> dict[Split, tuple[_Pool, list[int]]]:
    check_python(options.task, options.task.partition(":")[0])
    if options.validation is not None or options.test is not None:
        raise ConfigError(
            f"{where}: a function scores the items that it has: `validation` and `test` count those "
            "of files and of the harness"
        )

    def whole(split: Split) -> Callable[[Sequence[int]], Scorer]:
        def make(_: Sequence[int]) -> Scorer:
            scorer = FunctionScorer(options.task, root, split)
            return scorer if scorer.has_splits else HalfOfFunction(scorer, split)

        return make

    return {split: (_Pool([], whole(split)), []) for split in SPLITS}


def _named(
    name: str, found: Mapping[Split, tuple[_Pool, list[int]]], metric: str | None, model: str, where: str
) -> JudgedTarget:
    scorers: dict[str, Scorer] = {split: pool.make(numbers) for split, (pool, numbers) in found.items()}
    metrics = _headline_first(scorers["validation"].metrics, metric, where)
    content = content_key("judged 1", name, *(scorers[split].version for split in SPLITS))
    version = _version(model, content)
    for split, scorer in scorers.items():
        scorer.task, scorer.split, scorer.metrics, scorer.version = name, split, metrics, version
    items: dict[str, Sequence[Item]] = {
        split: [pool.items[at] for at in numbers] if pool.items else []
        for split, (pool, numbers) in found.items()
    }
    return JudgedTarget(scorers, metrics, content, version, items)


def _version(model: str, content: str) -> str:
    return content_key(model, content)[:16]


def _headline_first(metrics: Mapping[str, bool], metric: str | None, where: str) -> dict[str, bool]:
    if metric is None:
        return dict(metrics)
    if metric not in metrics:
        raise ConfigError(
            f"{where}: the task has no metric {metric!r}{did_you_mean(metric, metrics)}; it has "
            f"{list(metrics)}"
        )
    return {metric: metrics[metric], **metrics}
