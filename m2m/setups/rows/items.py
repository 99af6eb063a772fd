"""Items: what of a document, or of a task's example, is compared with what others say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from m2m.setups.rows.formats import Chat, Completion, Document


@dataclass(frozen=True)
class Item:
    """A question with its answer; of plain text the answer is all of it.

    Attributes:
        question: What is given; of a conversation, what all but the assistant say.
        answer: What is learnt, or judged.
        where: Where it was read, as `a.jsonl, line 3`.
        origin: What it is made of, where several items may be made of the same (`formats.Completion`).
    """

    question: str
    answer: str
    where: str = ""
    origin: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """The question and the answer, which are compared each by itself."""
        return self.question, self.answer

    @property
    def key(self) -> bytes:
        """The same for items of the same origin, or whose texts are the same but for white space."""
        said = [self.origin] if self.origin else [" ".join(text.split()) for text in self.texts]
        content = "\0".join(said).encode(errors="surrogatepass")
        return hashlib.blake2b(content, digest_size=8).digest()


def item_of(document: Document, where: str = "") -> Item:
    """Say what of a document is compared."""
    if isinstance(document, str):
        return Item("", document, where)
    if isinstance(document, Completion):
        return Item(document.prompt, document.completion, where, document.origin)
    return Item(_said(document, by_assistant=False), _said(document, by_assistant=True), where)


def _said(chat: Chat, *, by_assistant: bool) -> str:
    turns = (turn for turn in chat.turns if (turn["role"] == "assistant") == by_assistant)
    return "\n".join(turn["content"] or "" for turn in turns)
