"""The site reads Markdown as the git host does: the same lists, tables, code and emphasis on every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from helpers.documents import PAGES, ROOT
from markdown_it import MarkdownIt

markdown = pytest.importorskip("markdown", reason="needs the extra `docs`")
pytest.importorskip("mdx_truly_sane_lists", reason="needs the extra `docs`")

TAGS = ("table", "tr", "td", "li", "pre", "h1", "h2", "h3", "h4", "img", "strong", "em", "code")
EXTENSIONS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["markdown_extensions"]
#: These mark code up with elements of their own.
LEFT_OUT = ("pymdownx.highlight", "toc")


def counted(html: str) -> dict[str, int]:
    return {tag: len(re.findall(rf"<{tag}[ >]", html)) for tag in TAGS}


def of_the_site(text: str) -> str:
    named = [each if isinstance(each, str) else next(iter(each)) for each in EXTENSIONS]
    configured = {name: each[name] for each in EXTENSIONS if isinstance(each, dict) for name in each}
    kept = [name for name in named if name not in LEFT_OUT]
    settings = {name: configured[name] for name in kept if name in configured}
    return str(markdown.Markdown(extensions=kept, extension_configs=settings).convert(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT / "docs")))
def test_both_see_the_same(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert counted(of_the_site(text)) == counted(MarkdownIt("commonmark").enable("table").render(text))
