"""What users may say about tasks, and about the model that does them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m2m.scoring.tasks.harness_options import HarnessOptions
from m2m.support.checked import Positive, check_fields

#: Tokens that a model may write, unless the user says otherwise.
MAX_NEW_TOKENS = 32
#: What stands around a class's name where images are matched with texts, as in transformers' own pipeline.
CLASS_TEXT = "This is a photo of {}."
#: What ends an answer, unless the user says otherwise: an answer is a line.
STOP = ("\n",)
#: What stands before the colon of a built-in task.
TASK_KINDS = ("lm", "choice", "exact_match", "generate", "classify", "sts", "lm_eval")


@dataclass(frozen=True, kw_only=True)
class TaskOptions(HarnessOptions):
    """What a command may say about its tasks, and the model that does them.

    Attributes:
        stride: New tokens a window of `lm` tasks; None: the whole window.
        limit: Most examples of a built-in task; None for all.
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
    limit: Positive | None = None
    judge: str | None = None
    chat: bool = False
    max_new_tokens: Positive = MAX_NEW_TOKENS
    stop: tuple[str, ...] = STOP
    class_text: str = CLASS_TEXT
    lm_eval_tasks: Path | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
