"""What may be said about tasks of the lm-evaluation-harness, by the names of its own command."""

from __future__ import annotations

from dataclasses import dataclass

from m2m.support.checked import Natural, Positive

#: Rows a batch of the harness, unless the user says otherwise.
BATCH_SIZE = 8


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
