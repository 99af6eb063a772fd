"""What the site needs beyond Markdown: pages of linked files of the repository, and nothing from elsewhere.

A document links to a file outside docs/ by its path (`../examples/minimal.toml`), as the git host follows
it. The site has a page for each such file under `source/`; a link to a folder is left as its text.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

_ROOT = Path(__file__).parents[2]
#: Text and target of a link; the target without its anchor, which stands apart.
_LINK = re.compile(r"\[([^][]*)\]\(([^()#\s]+)(#[^()\s]*)?\)")
#: What makes a browser load something: the address behind it.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc=["']?(?:https?:)?//[^"'> ]+"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|icon|preload))"""
    r"""[^>]*?\bhref=["']?(?:https?:)?//[^"'> ]+"""
    r"""|(?:@import\s+|url\()["']?(?:https?:)?//[^"') ]+"""
)
_ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name headings as the git host does."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside docs/ that a document, or such a file, links to."""
    waiting = [_ROOT / name for name in _ALWAYS]
    waiting += [path for file in files.documentation_pages() for path in _linked(Path(file.abs_src_path))]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        files.append(File.generated(config, _source_uri(path), content=_content(path)))
        if path.suffix == ".md":
            waiting += _linked(path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to the pages of `on_files`."""
    del config, files
    uri = page.file.src_uri
    here = _ROOT / (uri.removeprefix("source/") if uri.startswith("source/") else f"docs/{uri}")
    up = "../" * uri.count("/")

    def lead(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = (here.parent / target).resolve()
        if re.match(r"\w+:", target) or not path.is_relative_to(_ROOT):
            return link[0]
        if path.is_dir():
            return text
        inside = path.relative_to(_ROOT).as_posix()
        uri = inside.removeprefix("docs/") if inside.startswith("docs/") else _source_uri(path)
        return f"[{text}]({up}{uri}{anchor})"

    return _LINK.sub(lead, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that makes a browser load anything from elsewhere."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in {".html", ".css"}:
            loaded = _LOADED.search(path.read_text(encoding="utf-8"))
            if loaded:
                raise PluginError(f"{path} would load from elsewhere: {loaded[0]}")


def _linked(page: Path) -> list[Path]:
    if page.suffix != ".md":
        return []
    targets = [match[2] for match in _LINK.finditer(page.read_text(encoding="utf-8"))]
    paths = [(page.parent / target).resolve() for target in targets if not re.match(r"\w+:", target)]
    return [path for path in paths if path.is_file() and not path.is_relative_to(_ROOT / "docs")]


def _source_uri(path: Path) -> str:
    inside = path.relative_to(_ROOT).as_posix()
    return f"source/{inside}" if path.suffix == ".md" else f"source/{inside}.md"


def _content(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    language = {".py": "python", ".toml": "toml"}.get(path.suffix, "text")
    return f"# {path.relative_to(_ROOT)}\n\n````{language}\n{text}````\n"
