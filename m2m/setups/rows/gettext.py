"""Catalogues of gettext (`.po`): translated messages as text, or as questions with their answers.

A question is made of a message by a template, such as `Translate into Spanish: {text}`, and its translation
is the answer. Which pairs are worth learning from:

- entries that are translated, and neither obsolete nor marked as fuzzy (a guess that nobody has confirmed);
- of a message with plural forms the singular, with the first form of its translation;
- with the same placeholders (`%(name)s`, `%d`, `{count}` ...) on both sides, each as often as on the other;
- not the same on both sides: names and abbreviations teach to copy.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from m2m.setups.rows.formats import Completion

#: What stands for a message in a template.
TEXT = "{text}"
#: Placeholders of Python's two ways to format, and of C's.
_PLACEHOLDER = re.compile(
    r"%\([^)]*\)[#0\- +]*\d*(?:\.\d+)?[a-zA-Z]|%[#0\-+]*\d*(?:\.\d+)?[a-zA-Z%]|\{[^{}]*\}"
)


@dataclass(frozen=True)
class Entry:
    """One message of a catalogue.

    Attributes:
        message: The message, `msgid`.
        translations: Its translations, `msgstr`: one, or one a plural form. None is empty.
        is_fuzzy: Whether it is marked as a guess.
        line: The line of the file that it begins on, from 1.
    """

    message: str
    translations: tuple[str, ...]
    is_fuzzy: bool
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class PairRule:
    """How pairs become questions with answers: keys of a dataset's or a target's table.

    Attributes:
        prompt: For `po_pairs`: how a question is made of a message; `{text}` stands for it.
        letters: For `po_pairs`: fewest and most letters of message and translation.
    """

    prompt: str = ""
    letters: tuple[int, int] = (1, 1000)


def entries(text: str) -> Iterator[Entry]:
    """Read a catalogue's translated messages, without its header and obsolete ones.

    Args:
        text: Its text.

    Yields:
        Entry: The messages in order.
    """
    found = _Lines()
    # Only ends of lines end a line: messages hold U+2028 and the like.
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        starts_entry = line.startswith(("msgid ", "msgctxt ", "#")) and found.keyword.startswith("msgstr")
        if starts_entry or not line:
            yield from found.entry()
            found = _Lines()
        found.add(line, number)


@dataclass
class _Lines:
    """The lines of one entry so far."""

    parts: dict[str, str] = field(default_factory=dict)
    keyword: str = ""
    is_fuzzy: bool = False
    first: int = 0

    def add(self, line: str, number: int) -> None:
        if line.startswith("#,"):
            self.is_fuzzy |= "fuzzy" in [flag.strip() for flag in line[2:].split(",")]
        if line.startswith("msg"):
            self.first = self.first or number
            self.keyword, _, line = line.partition(" ")
        if self.keyword and line.startswith('"'):
            self.parts[self.keyword] = self.parts.get(self.keyword, "") + ast.literal_eval(line)

    def entry(self) -> Iterator[Entry]:
        """Yield the entry if it is one; the header is the entry whose `msgid` is empty."""
        message = self.parts.get("msgid")
        found = [text for key, text in self.parts.items() if key.startswith("msgstr") and text]
        if message and found:
            yield Entry(message, tuple(found), self.is_fuzzy, self.first)


def translations(text: str) -> Iterator[tuple[int, str]]:
    """Read a catalogue's translations alone, all forms of them, each with the line of its entry."""
    for entry in entries(text):
        yield from ((entry.line, translation) for translation in entry.translations)


def pairs(text: str, rule: PairRule, where: str) -> Iterator[Completion]:
    """Read a catalogue's messages as questions, with their translations as answers.

    The pair's place in any split is that of its message, so that a message is on one side in all languages.

    Args:
        text: The catalogue's text.
        rule: How questions are made, and how long both sides may be.
        where: Where it was read.

    Yields:
        Completion: The pairs that are worth learning from, in order.
    """
    fewest, most = rule.letters
    for entry in entries(text):
        message, translation = entry.message.strip(), entry.translations[0].strip()
        fits = all(fewest <= len(side) <= most for side in (message, translation))
        teaches = message != translation and placeholders(message) == placeholders(translation)
        if fits and teaches and not entry.is_fuzzy:
            place = f"{where}, line {entry.line}"
            yield Completion(rule.prompt.replace(TEXT, message), translation, place, origin=message)


def placeholders(text: str) -> Counter[str]:
    """Count the placeholders in a text."""
    return Counter(_PLACEHOLDER.findall(text))
