"""Built-in tasks: text, multiple choice and classification, from files, for any module."""

from m2m.scoring.tasks.classification import ClassificationScorer
from m2m.scoring.tasks.inputs import ByteTokens, Tokens
from m2m.scoring.tasks.likelihood import MultipleChoiceScorer
from m2m.scoring.tasks.load import TASK_KINDS, TaskOptions, load_tasks
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
