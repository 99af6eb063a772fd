"""What users may say about tasks, those of the lm-evaluation-harness too, and the model that does them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from m2m.errors import ConfigError
from m2m.support.arguments import argument
from m2m.support.checked import MOST, Natural, Positive, check_fields

#: A list, or a tensor by its first axis.
Items = TypeVar("Items")

#: Tokens that a model may write, unless the user says otherwise.
MAX_NEW_TOKENS = 32
#: What stands around a class's name where images are matched with texts, as in transformers' own pipeline.
CLASS_TEXT = "This is a photo of {}."
#: What ends an answer, unless the user says otherwise: an answer is a line.
STOP = ("\n",)
#: Rows a batch of the harness, unless the user says otherwise.
BATCH_SIZE = 8
#: What stands before the colon of a built-in task.
TASK_KINDS = ("lm", "choice", "exact_match", "generate", "classify", "sts", "lm_eval")


@dataclass(frozen=True, kw_only=True)
class HarnessOptions:
    """Options of the harness's own command; they mean what they mean there.

    Attributes:
        num_fewshot: Examples with their answers before each question; a task that says 0 itself stays at 0.
            Missing: the task's own number.
        apply_chat_template: Whether questions are asked through the tokenizer's chat template; a text is the
            name of one of several.
        system_instruction: What the system says before everything else.
        fewshot_as_multiturn: Whether the examples before a question are turns of the conversation. Missing:
            where a chat template is applied.
        gen_kwargs: Settings of generation in place of the task's, as `temperature=0.7,do_sample=true`.
        batch_size: Rows a batch.
    """

    num_fewshot: Natural | None = None
    apply_chat_template: bool | str = False
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    gen_kwargs: str = ""
    batch_size: Positive = BATCH_SIZE

    @property
    def multiturn(self) -> bool:
        """Whether the examples are turns, where nothing is said of it too."""
        told = self.fewshot_as_multiturn
        return bool(self.apply_chat_template) if told is None else told


@dataclass(frozen=True, kw_only=True)
class TaskOptions(HarnessOptions):
    """What a command may say about its tasks, and the model that does them.

    Attributes:
        stride: New tokens a window of `lm` tasks; None: the whole window.
        limit: Most examples of a built-in task; below 1 their share, rounded up, as the harness has it; None
            for all.
        judge: Judge of what `generate` tasks wrote, `FILE.py:FUNCTION`.
        chat: Whether questions and prompts of `choice`, `exact_match` and `generate` tasks are asked as a
            user, through the model's chat template.
        max_new_tokens: Most tokens that are written for `generate` and `exact_match`.
        stop: Texts that end an answer; they are cut off with all after them.
        class_text: What stands around a class's name, `{}`, where images are matched with texts.
        lm_eval_tasks: Folder of lm-evaluation-harness task files.
        trust_remote_code: Whether Python code in a Hugging Face model's folder may run.
    """

    stride: Positive | None = None
    limit: float | None = None
    judge: str | None = None
    chat: bool = False
    max_new_tokens: Positive = MAX_NEW_TOKENS
    stop: tuple[str, ...] = STOP
    class_text: str = CLASS_TEXT
    lm_eval_tasks: Path | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        limit = self.limit
        counts = isinstance(limit, int) and 1 <= limit <= MOST
        if limit is not None and not (counts or 0 < limit < 1):
            raise ConfigError(
                f"{argument('limit')} must be a number of examples, 1 or more, or their share, above 0 and "
                f"below 1; got {limit!r}"
            )


def number_of(limit: float | None, count: int) -> int | None:
    """Return how many of `count` examples a limit takes at most; None for all."""
    return limit if limit is None else math.ceil(count * limit) if limit < 1 else int(limit)


def first(items: Items, limit: float | None) -> Items:
    """Take the first examples: so many, or so large a share of them; all if `limit` is None."""
    listed: Any = items
    taken: Items = listed[: number_of(limit, len(listed))]
    return taken
