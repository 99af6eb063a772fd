"""Built-in tasks: text, multiple choice and classification, from files, for any module."""

from m2m.scoring.tasks.classification import ClassificationScorer
from m2m.scoring.tasks.load import TASK_KINDS, TaskOptions, load_tasks
from m2m.scoring.tasks.multiple_choice import MultipleChoiceScorer
from m2m.scoring.tasks.text_loss import TextLossScorer
from m2m.scoring.tasks.tokens import ByteTokens, Tokens

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
