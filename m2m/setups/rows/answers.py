"""Answers: the tokens of a question with its answer, and which of them the answer is.

The question goes through the tokenizer together with its answer, as trainers do it, and the answer begins
after the tokens that the question alone has, as the model meets it when it is asked. Where the two do not
agree, as a token holds the end of one and the start of the other, that token counts as the answer's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from m2m.errors import ConfigError, DataError
from m2m.setups.rows.formats import Chat, Completion, Turn
from m2m.support.doors import reading
from m2m.support.options import key_names

Truncate = Literal["end", "start", "drop"]
Which = Literal["all", "last"]
#: How a chat template marks the assistant's words for `return_assistant_tokens_mask`.
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class Answered:
    """One example.

    Attributes:
        tokens: Token numbers. [T]
        is_answer: Which of them are learnt. [T]
    """

    tokens: Sequence[int]
    is_answer: Sequence[bool]

    def to_last_answer(self) -> Answered:
        """Cut off what comes after the last answer token: nothing is learnt from it, nor by it."""
        length = len(self.is_answer)
        while length and not self.is_answer[length - 1]:
            length -= 1
        return Answered(self.tokens[:length], self.is_answer[:length])


@dataclass(frozen=True)
class AnswerRule:
    """What becomes of a question with its answer: keys of a dataset's or a target's table.

    Attributes:
        truncate: What is cut off an example that is longer than the context: its `end`, its `start`, or
            `drop`, the whole example. One that no answer token is left of is dropped in any case.
        answers: Whether `all` of the assistant's turns are learnt, or the `last` one only.
    """

    truncate: Truncate = "end"
    answers: Which = "all"

    @classmethod
    def parse(cls, table: Mapping[str, Any], said: str) -> AnswerRule:
        """Build a rule from its keys in a table; other keys of the table are somebody else's."""
        for key, choices in (("truncate", get_args(Truncate)), ("answers", get_args(Which))):
            if key in table and table[key] not in choices:
                raise ConfigError(
                    f"{said}: `{key}` must be one of {', '.join(choices)}, got {table[key]!r:.60}"
                )
        return cls(**{key: table[key] for key in key_names(cls) if key in table})

    def cut(self, example: Answered, most: int) -> Answered | None:
        """Bring an example to a length; the first token is no answer, as nothing comes before it.

        Args:
            example: Its tokens.
            most: Most tokens, context + 1.

        Returns:
            What is left; None where no answer token is.
        """
        kept = example.to_last_answer()
        if len(kept.tokens) > most:
            if self.truncate == "drop":
                return None
            part = slice(most) if self.truncate == "end" else slice(-most, None)
            kept = Answered(kept.tokens[part], kept.is_answer[part]).to_last_answer()
        kept = Answered(kept.tokens, [False, *kept.is_answer[1:]])
        return kept if any(kept.is_answer) else None


def in_bytes(document: Chat | Completion, which: Which) -> Answered:
    """Turn a question with its answer into bytes, for a model that has no tokenizer.

    A completion follows its prompt as it is and is ended by a newline, as documents are. A turn of a
    conversation is `ROLE: CONTENT` and a newline; the content and its newline are the answer.

    Args:
        document: The question with its answer.
        which: Which answers of a conversation are learnt.

    Returns:
        Its bytes.
    """
    if isinstance(document, Completion):
        parts = [(document.prompt, False), (f"{document.completion}\n", True)]
    else:
        learnt = learnt_turns(document, which)
        parts = []
        for number, turn in enumerate(document.turns):
            parts += [(f"{turn['role']}: ", False), (f"{turn['content']}\n", number in learnt)]
    encoded = [(part.encode(), learnt) for part, learnt in parts]
    tokens = [byte for part, _ in encoded for byte in part]
    return Answered(tokens, [learnt for part, learnt in encoded for _ in part])


def question_in_bytes(text: str) -> str:
    """Write what a user asks as `in_bytes` has it, up to where the answer begins."""
    return f"user: {text}\nassistant: "


@dataclass(frozen=True)
class AnswerTokenizer:
    """Turns questions with answers into the tokens of a Hugging Face folder.

    Attributes:
        tokenizer: The folder's tokenizer.
        folder: The folder, for messages.
        template: Chat template in place of the tokenizer's own; empty: its own.
    """

    tokenizer: Any
    folder: Path
    template: str = ""

    def __call__(self, document: Chat | Completion, which: Which) -> Answered:
        """Turn a question with its answer into tokens.

        Args:
            document: The question with its answer.
            which: Which answers of a conversation are learnt.

        Returns:
            Its tokens.

        Raises:
            ConfigError: If a conversation has no chat template to go through.
            DataError: If the template refuses it, or does not tell where its answers are.
        """  # noqa: DOC502 - raised by what is called
        if isinstance(document, Completion):
            return self._completion(document)
        if which == "all" and self.tokenizer.is_fast and _MARKED.search(self._template):
            return self._marked(document)
        return self._turn_by_turn(document, which)

    def question(self, text: str) -> str:
        """Write what a user asks as the chat template does, up to where the answer begins."""
        chat = Chat(({"role": "user", "content": text},), f"the question {text!r:.40}")
        asked: str = self._written(chat, chat.turns, add_generation_prompt=True)
        return asked

    def _completion(self, document: Completion) -> Answered:
        # With the special tokens that the tokenizer itself puts around a text, and always an end.
        end = self.tokenizer.eos_token_id
        whole = self._tokenised(document.prompt + document.completion, special=True)

        def alone() -> list[int]:
            before = self._tokenised(document.prompt, special=True).tokens
            while before and before[-1] == end:
                before = before[:-1]
            return before

        first = whole.count_before(len(document.prompt), alone)
        tokens = whole.tokens
        if end is not None and tokens[-1:] != [end]:
            tokens = [*tokens, end]
        return Answered(tokens, [at >= first for at in range(len(tokens))])

    def _marked(self, chat: Chat) -> Answered:
        options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
        found = self._written(chat, chat.turns, **options, tokenizer_kwargs={"verbose": False})
        return Answered(list(found["input_ids"]), [bool(learnt) for learnt in found["assistant_masks"]])

    def _turn_by_turn(self, chat: Chat, which: Which) -> Answered:
        learnt = learnt_turns(chat, which)
        turns = chat.turns[: learnt[-1] + 1]
        text: str = self._written(chat, turns)
        whole = self._tokenised(text)
        is_answer = [False] * len(whole.tokens)
        for number in learnt:
            start = self._beginning(chat, text, turns[:number], add_generation_prompt=True)
            with_answer = turns[: number + 1]
            stop = len(text) if with_answer == turns else self._beginning(chat, text, with_answer)
            stop = start + len(self._said(text[start:stop]))
            first, last = self._count_before(whole, start), self._count_before(whole, stop, across=True)
            is_answer[first:last] = [True] * (last - first)
        return Answered(whole.tokens, is_answer)

    def _count_before(self, whole: _Tokenised, place: int, *, across: bool = False) -> int:
        return whole.count_before(place, lambda: self._tokenised(whole.text[:place]).tokens, across=across)

    def _beginning(self, chat: Chat, text: str, turns: Sequence[Turn], **options: Any) -> int:
        # How many letters of the whole conversation's text its first turns are.
        beginning: str = self._written(chat, turns, **options)
        if not text.startswith(beginning):
            raise DataError(
                f"{chat.where}: the chat template of {self.folder} writes the first {len(turns)} turns "
                "otherwise when more follow, so that it is not known where answers end: learn the last one "
                'only (`answers = "last"`), or name a template that marks them with {% generation %} '
                "(`chat_template` in [setup.base])"
            )
        return len(beginning)

    def _said(self, answer: str) -> str:
        # White space that a template puts after the token that ends a turn is not said by the model.
        bare = answer.rstrip()
        return bare if bare.endswith(self._special) else answer

    def _written(self, chat: Chat, turns: Sequence[Turn], **options: Any) -> Any:
        if not self._template:
            raise ConfigError(no_template(self.folder))
        with reading("a conversation that the chat template takes", chat.where, DataError):
            return self.tokenizer.apply_chat_template(
                [dict(turn) for turn in turns], chat_template=self._template, **{"tokenize": False, **options}
            )

    def _tokenised(self, text: str, *, special: bool = False) -> _Tokenised:
        with reading("a folder with a tokenizer", self.folder, ConfigError):
            fast = self.tokenizer.is_fast
            found = self.tokenizer(
                text, add_special_tokens=special, return_offsets_mapping=fast, verbose=False
            )
            return _Tokenised(text, list(found["input_ids"]), found["offset_mapping"] if fast else None)

    @cached_property
    def _special(self) -> tuple[str, ...]:
        return (*self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab())

    @cached_property
    def _template(self) -> str:
        if self.template or not self.tokenizer.chat_template:
            return self.template
        with reading("a folder with a chat template", self.folder, ConfigError):
            return str(self.tokenizer.get_chat_template())


@dataclass(frozen=True)
class _Tokenised:
    text: str
    tokens: list[int]
    #: First and last letter of each token; None where the tokenizer does not tell.
    spans: Sequence[tuple[int, int]] | None

    @cached_property
    def is_told(self) -> bool:
        """Whether the spans say of every letter which token holds it; some leave white space out."""
        inner = [
            span for span in self.spans or () if span != (0, 0)
        ]  # but for special tokens around the text
        stops = [0, *(stop for _, stop in inner)]
        ends = stops[-1] == len(self.text)
        return ends and all(
            start <= before < stop or start < stop <= before
            for before, (start, stop) in zip(stops, inner, strict=False)
        )

    def count_before(self, place: int, alone: Callable[[], list[int]], *, across: bool = False) -> int:
        """Count the tokens before a place in the text; `across`: with the one that lies across it."""
        # Where spans leave letters out, the tokens of the text up to there alone decide, if it begins so.
        if not self.is_told:
            before = alone()
            if self.tokens[: len(before)] == before:
                return len(before)
            if self.spans is None:
                pairs = enumerate(zip(self.tokens, before, strict=False))
                return next((at for at, (ours, theirs) in pairs if ours != theirs), len(self.tokens))
        inside = (stop > place and (start >= place or not across) for start, stop in self.spans or ())
        return next((at for at, found in enumerate(inside) if found), len(self.tokens))


def no_template(folder: Path) -> str:
    """Say what a conversation wants of a model without a chat template."""
    return (
        f"{folder}: its tokenizer has no chat template, which conversations go through: take the folder of "
        'the model that is made for them (…-Instruct), name a Jinja file (`chat_template = "FILE"` in '
        "[setup.base]), or give rows as prompt and completion"
    )


def learnt_turns(chat: Chat, which: Which) -> list[int]:
    """Numbers of the turns whose words are learnt; at least one."""
    return chat.answers if which == "all" else chat.answers[-1:]
