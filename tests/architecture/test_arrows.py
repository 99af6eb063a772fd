"""The arrows of docs/architecture.md hold: its table is read here, and every import is held against it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("m2m", "analysis", "paper_figs")
#: The lazy face names every room on purpose.
FACE = ROOT / "m2m" / "__init__.py"


def rooms_of_the_document() -> dict[str, set[str]]:
    """Read room → rooms it names as importable; arrows are transitive, which `reachable` adds."""
    table: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 3 or not cells[0].startswith("`"):
            continue
        for room in re.findall(r"`([^`]+)`", cells[0]):
            table[room_name(room)] = named_rooms(cells[2], table)
    for arrows in table.values():
        if "everything" in arrows:
            arrows.remove("everything")
            arrows.update(table)
    return table


def room_name(written: str) -> str:
    """`m2m/checkpoint/` → `checkpoint`, `m2m/ops.py` → `ops`, `analysis/` → `analysis`."""
    return written.removeprefix("m2m/").rstrip("/").removesuffix(".py")


def named_rooms(cell: str, above: dict[str, set[str]]) -> set[str]:
    """Read one "may import" cell."""
    plain = cell.replace("`", "")
    if plain in {"–", "-", ""}:
        return set()
    if plain == "all of the above":
        return set(above)
    if plain == "m2m public names":
        return {room for room in above if room != "csrc"}
    return {word.strip() for word in plain.split(",")}


def reachable(room: str, table: dict[str, set[str]]) -> set[str]:
    """A room and all that its arrows lead to."""
    found, todo = set(), [room]
    while todo:
        here = todo.pop()
        if here not in found:
            found.add(here)
            todo += table.get(here, ())
    return found


def room_of(module: str) -> str:
    """`m2m.merging.plan` → `merging`, `analysis.fidelity.core` → `analysis`."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "m2m" else first


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Every project module a file imports, at any depth, with its line."""
    package = ".".join(file.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).rstrip(".")
            # `from m2m import config` imports a module; `from m2m.config import load` one of its names.
            names = [f"{base}.{alias.name}" if base in PACKAGES else base for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in PACKAGES and "." in name:
                yield node.lineno, name


def is_module(name: str) -> bool:
    """Whether a dotted name is a module of the project rather than a name of the lazy face."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists() or path.with_suffix(".pyi").exists()


TABLE = rooms_of_the_document()
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if file != FACE)


def test_the_document_has_the_rooms() -> None:
    assert {"errors", "ops", "checkpoint", "merging", "pipeline", "cli", "analysis", "paper_figs"} <= set(
        TABLE
    )
    unknown = {name for arrows in TABLE.values() for name in arrows} - set(TABLE) - {"_core"}
    assert not unknown, f"docs/architecture.md lets rooms import {unknown}, which are no rooms of it"


def test_the_document_has_no_circle() -> None:
    circles = {
        room
        for room, arrows in TABLE.items()
        for next_ in arrows
        if next_ != room
        if room in reachable(next_, TABLE) and room != "cli"
    }
    assert not circles


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_follow_the_arrows(file: Path) -> None:
    here = room_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
    if file.name == "__init__.py" and file.parent.name in {"analysis", "paper_figs"}:
        here = file.parent.name
    assert here in TABLE, f"{file.relative_to(ROOT)} is in no room of docs/architecture.md"
    allowed = reachable(here, TABLE)
    for line, name in imports(file):
        if is_module(name) or room_of(name) in TABLE:
            assert room_of(name) in allowed, (
                f"{file.relative_to(ROOT)}:{line} imports {name}: no arrow {here} → {room_of(name)}"
            )


def test_no_arrow_between_searching_and_train() -> None:
    assert "train" not in reachable("searching", TABLE)
    assert "searching" not in reachable("train", TABLE)


def test_only_the_command_line_knows_the_analysis() -> None:
    knowing = {room for room in TABLE if {"analysis", "paper_figs"} & reachable(room, TABLE)}
    assert knowing == {"cli", "analysis", "paper_figs"}


@pytest.mark.parametrize("file", sorted((ROOT / "csrc").iterdir()), ids=lambda file: file.name)
def test_the_core_includes_no_torch(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.findall(r'^\s*#\s*include\s*[<"](?:torch|ATen|c10)\b.*', text, flags=re.MULTILINE)
