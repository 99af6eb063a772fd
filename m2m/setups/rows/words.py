"""Words of a text, whatever it is written in.

Words are runs of letters and digits in lower case, so that punctuation, ends of lines and case make no
difference; of code they are its names, keywords and numbers. Where a script puts no blanks between words
(Chinese, Japanese, Thai, Lao, Burmese, Khmer) each character is one, and two count as a word elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_NO_BLANKS = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
#: Signs that stand on letters, which Python takes for no part of a word: Latin, Hebrew, Arabic, of India.
_MARKS = r"\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
_WORD = re.compile(rf"[{_NO_BLANKS}]|(?:[^\W_{_NO_BLANKS}]|[{_MARKS}])+")
_ASCII_WORD = re.compile(r"[a-z0-9]+")  # the same of ASCII, in a third of the time
_CHARACTER = re.compile(rf"[{_NO_BLANKS}]")


def words_of(text: str) -> list[str]:
    """Cut a text into its words, in order."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def scale_of(words: Sequence[str]) -> int:
    """Say how many of a text's words make one: 2 where most are characters of a script without blanks."""
    return 2 if 2 * sum(map(bool, map(_CHARACTER.match, words))) > len(words) else 1
