"""Built-in tasks: text, multiple choice and classification, from files, for any module."""

from m2m.evaluate.tasks.classification import ClassificationScorer
from m2m.evaluate.tasks.load import TASK_KINDS, TaskOptions, load_tasks
from m2m.evaluate.tasks.multiple_choice import MultipleChoiceScorer
from m2m.evaluate.tasks.text_loss import TextLossScorer
from m2m.evaluate.tasks.tokens import ByteTokens, Tokens

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
