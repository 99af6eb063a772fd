"""From a task as users spell it to its scorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from m2m.checkpoint.heads import Head
from m2m.errors import ConfigError
from m2m.scoring.tasks.classification import ClassificationScorer
from m2m.scoring.tasks.function_scorer import FunctionScorer
from m2m.scoring.tasks.generation import (
    EXACT_MATCH,
    GenerationScorer,
    Judge,
    users_judge,
)
from m2m.scoring.tasks.inputs import Tokens, require_head
from m2m.scoring.tasks.likelihood import MultipleChoiceScorer
from m2m.scoring.tasks.pictures import picture_scorer
from m2m.scoring.tasks.scorer import Scorer
from m2m.scoring.tasks.sentence_pairs import SimilarityScorer
from m2m.scoring.tasks.task_options import TASK_KINDS, TaskOptions
from m2m.scoring.tasks.tensor_loss import TensorLossScorer
from m2m.scoring.tasks.text_loss import TextLossScorer
from m2m.scoring.tasks.token_classes import TokenClassScorer
from m2m.support.arguments import argument
from m2m.support.schema import did_you_mean


def load_tasks(word: str, root: Path, tokens: Callable[[], Tokens], options: TaskOptions) -> Sequence[Scorer]:
    """Make the task that a user names.

    Args:
        word: `lm:FILE`, `choice:FILE.jsonl`, `exact_match:FILE.jsonl`, `generate:FILE.jsonl`,
            `classify:FILE_OR_FOLDER`, `sts:FILE`, `lm_eval:NAME,…`, or `FILE.py:FUNCTION`.
        root: Folder that relative paths start from.
        tokens: Gives the model's tokens, or raises an error that says how to get them.
        options: What the command says about its tasks.

    Returns:
        The task; several where tasks or groups of the lm-evaluation-harness are named.

    Raises:
        ConfigError: If nothing stands after the colon, it is neither a kind of task nor Python, or
            `generate` has no judge.
    """
    kind, _, rest = word.partition(":")
    if kind not in TASK_KINDS:
        check_python(word, kind)
        return [FunctionScorer(word, root)]
    if not rest:
        raise ConfigError(f"the task {word!r} names no {'task' if kind == 'lm_eval' else 'file'}")
    path = root / rest
    if kind == "lm" and path.suffix == ".safetensors":
        return [TensorLossScorer.read(path, tokens(), limit=options.limit)]
    if kind == "lm":
        return [TextLossScorer.read(path, tokens(), stride=options.stride, limit=options.limit)]
    if kind == "choice":
        return [MultipleChoiceScorer.read(path, tokens(), limit=options.limit, chat=options.chat)]
    if kind in ("exact_match", "generate"):
        judge = _judge(word, kind, root, options)
        return [
            GenerationScorer.read(
                path,
                tokens(),
                judge,
                limit=options.limit,
                most=options.max_new_tokens,
                stop=options.stop,
                chat=options.chat,
            )
        ]
    if kind == "sts":
        return [SimilarityScorer.read(path, tokens(), limit=options.limit)]
    if kind == "classify":
        return [_classify(path, tokens, options)]
    from m2m.scoring.tasks.lm_eval_harness import load_harness_tasks

    return load_harness_tasks(
        rest.split(","), tokens(), options, include=options.lm_eval_tasks, limit=options.limit
    )


def _classify(path: Path, tokens: Callable[[], Tokens], options: TaskOptions) -> Scorer:
    if path.suffix == ".safetensors":
        return ClassificationScorer.read(path, None, limit=options.limit)
    model = tokens()
    if path.is_dir() or model.head in (Head.IMAGE_CLASSES, Head.IMAGE_TEXTS):
        require_head(f"classify:{path.name}", model, Head.IMAGE_CLASSES, Head.IMAGE_TEXTS)
        return picture_scorer(path, model, limit=options.limit, class_text=options.class_text)
    if model.head is Head.TOKEN_CLASSES:
        return TokenClassScorer.read(path, model, limit=options.limit)
    if model.head is not Head.CAUSAL:  # modules of the user's own may classify
        require_head(f"classify:{path.name}", model, Head.TEXT_CLASSES)
    return ClassificationScorer.read(path, model, limit=options.limit)


def _judge(word: str, kind: str, root: Path, options: TaskOptions) -> Judge:
    if kind == "exact_match":
        return EXACT_MATCH
    if options.judge is None:
        raise ConfigError(
            f"the task {word!r} needs {argument('judge', 'FILE.py:FUNCTION')}: who judges what is written"
        )
    return users_judge(options.judge, root)


def check_python(word: str, place: str) -> None:
    """Refuse a task that is no Python: a kind with a slip of the pen would read as the name of a module."""
    if place.isidentifier() and find_spec(place) is None:
        kinds = ", ".join(f"{kind}:…" for kind in TASK_KINDS)
        raise ConfigError(
            f"the task {word!r}: {place!r} is neither a kind of task{did_you_mean(place, TASK_KINDS)} nor a "
            f"Python module; wanted one of {kinds} or FILE.py:FUNCTION"
        )
