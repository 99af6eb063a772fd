"""The arrows of docs/architecture.md hold: its table is read here, and every import is held against it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("m2m", "analysis", "paper_figs")
#: The lazy face names every room on purpose.
FACE = ROOT / "m2m" / "__init__.py"


def rooms_of_the_document() -> dict[str, set[str]]:
    """Read room → rooms it may import; arrows are transitive, which `reachable` adds."""
    table: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`"):
            for room in re.findall(r"`([^`]+)`", cells[0]):
                table[room_name(room)] = named_rooms(cells[2].replace("`", ""), set(table))
    for arrows in table.values():
        if "everything" in arrows:
            arrows.update(table)
            arrows.remove("everything")
    return table


def room_name(written: str) -> str:
    """`m2m/checkpoint/` → `checkpoint`, `m2m/ops.py` → `ops`, `analysis/` → `analysis`."""
    return written.removeprefix("m2m/").rstrip("/").removesuffix(".py")


def named_rooms(cell: str, above: set[str]) -> set[str]:
    """Read one "may import" cell."""
    phrases = {"–": set[str](), "all of the above": above, "m2m public names": above - {"csrc", "cli"}}
    words = [word.strip() for word in cell.split(",")]
    return {room for word in words for room in phrases.get(word, {word})}


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
    pairs = [(here, there) for here, arrows in TABLE.items() for there in arrows if there != here]
    assert not [(here, there) for here, there in pairs if here in reachable(there, TABLE)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_follow_the_arrows(file: Path) -> None:
    here = room_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
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


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("m2m", {"torch", "numpy", "pandas", "scipy", "matplotlib", "transformers"}),
        (
            "m2m.cli, m2m.checkpoint, m2m.merging, m2m.build_info",
            {"torch", "pandas", "scipy", "transformers"},
        ),
        (
            "m2m.pipeline, m2m.evaluate, m2m.train, m2m.setups",
            {"matplotlib", "transformers", "scipy", "pandas"},
        ),
    ],
)
def test_imports_are_light(modules: str, heavy: set[str]) -> None:
    program = f"import sys, {modules}; print(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
