"""Built-in tasks: text, multiple choice and classification, from files, for any module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.support.lazy import lazy_names

if TYPE_CHECKING:
    from m2m.scoring.tasks.classification import ClassificationScorer
    from m2m.scoring.tasks.inputs import ByteTokens, Tokens
    from m2m.scoring.tasks.likelihood import MultipleChoiceScorer
    from m2m.scoring.tasks.load import load_tasks
    from m2m.scoring.tasks.task_options import TASK_KINDS, TaskOptions
    from m2m.scoring.tasks.text_loss import TextLossScorer

__all__ = [
    "TASK_KINDS",
    "ByteTokens",
    "ClassificationScorer",
    "MultipleChoiceScorer",
    "TaskOptions",
    "TextLossScorer",
    "Tokens",
    "load_tasks",
]

__getattr__ = lazy_names(
    __name__,
    {
        "ByteTokens": "m2m.scoring.tasks.inputs",
        "ClassificationScorer": "m2m.scoring.tasks.classification",
        "MultipleChoiceScorer": "m2m.scoring.tasks.likelihood",
        "TASK_KINDS": "m2m.scoring.tasks.task_options",
        "TaskOptions": "m2m.scoring.tasks.task_options",
        "TextLossScorer": "m2m.scoring.tasks.text_loss",
        "Tokens": "m2m.scoring.tasks.inputs",
        "load_tasks": "m2m.scoring.tasks.load",
    },
)
