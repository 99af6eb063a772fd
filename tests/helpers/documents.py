"""The project's documents: their text, their blocks of code, the names of their headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
#: What is read on the git host as well.
DOCUMENTS = [
    *PAGES,
    *(
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "SECURITY.md",
            "csrc/README.md",
            "benchmarks/peers.md",
        )
    ),
]

_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A piece of code in a document, and the first line it stands in; `inline` between backticks."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """List a document's code, in the order of the page; indented code has no language."""
    found = []
    for token in _MARKDOWN.parse(page.read_text(encoding="utf-8")):
        line = token.map[0] + 1 if token.map else 0
        if token.type in {"fence", "code_block"}:
            found.append(Block(page, line, token.info.strip(), token.content))
        for inner in token.children or ():
            if inner.type == "code_inline":
                found.append(Block(page, line, "inline", inner.content))
    return found


def links(page: Path) -> list[str]:
    """List the targets of a document's links and pictures."""
    found = []
    for token in _MARKDOWN.parse(page.read_text(encoding="utf-8")):
        for inner in token.children or ():
            target = inner.attrs.get("href") or inner.attrs.get("src")
            if target:
                found.append(str(target))
    return found


def anchors(page: Path) -> set[str]:
    """Name a document's headings as the git host and the site do."""
    tokens = _MARKDOWN.parse(page.read_text(encoding="utf-8"))
    titles = [
        "".join(inner.content for inner in after.children or ())
        for token, after in pairwise(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
