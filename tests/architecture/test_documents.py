"""Documents hang together: every page stands in the site's navigation, every link leads somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from helpers.documents import DOCUMENTS, PAGES, ROOT, anchors, links

import analysis
import m2m

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


def pages_of(navigation: Any) -> list[str]:
    if isinstance(navigation, str):
        return [navigation]
    inner = navigation.values() if isinstance(navigation, dict) else navigation
    return [page for each in inner for page in pages_of(each)]


def test_every_page_stands_in_the_navigation_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (*PAGES, *NOTEBOOKS))
    shown = sorted(page for page in pages_of(site["nav"]) if not page.startswith("source/"))
    assert shown == there, "put the page into `nav` of mkdocs.yml"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target in links(document):
        path, _, anchor = unquote(target).partition("#")
        if ":" in path:
            continue
        page = (document.parent / path).resolve() if path else document
        if not page.exists() or (anchor and page.suffix == ".md" and anchor not in anchors(page)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("package", [m2m, analysis], ids=lambda package: package.__name__)
def test_every_public_name_stands_in_the_reference(package: Any) -> None:
    name = package.__name__
    page = (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")
    shown = {
        line.removeprefix(f"::: {name}.") for line in page.splitlines() if line.startswith(f"::: {name}.")
    }
    assert shown == set(package.__all__) - {"__version__", "testing"}
