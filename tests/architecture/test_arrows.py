"""The arrows of docs/architecture.md hold: its table is read here, and every import is held against it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import analysis
import m2m

ROOT = Path(__file__).parents[2]
PACKAGES = ("m2m", "analysis", "paper_figs")
#: Headers that only one folder of csrc/ knows.
KEPT_HEADERS = {
    "csrc/bind": ("pybind11/", "Python.h"),
    "csrc/cuda": ("cuda",),
    "nowhere": ("torch/", "ATen/", "c10/"),
}
#: The lazy face names every room on purpose.
FACE = ROOT / "m2m" / "__init__.py"


def rooms_of_the_document() -> dict[str, set[str]]:
    """Read room → rooms that its files import themselves, and no others."""
    table: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`"):
            for room in re.findall(r"`([^`]+)`", cells[0]):
                table[room_name(room)] = named_rooms(cells[2].replace("`", ""))
    return table


def room_name(written: str) -> str:
    """`m2m/checkpoint/` → `checkpoint`, `m2m/ops.py` → `ops`, `analysis/` → `analysis`."""
    return written.removeprefix("m2m/").rstrip("/").removesuffix(".py")


def named_rooms(cell: str) -> set[str]:
    """Read one "imports" cell."""
    return {word.strip() for word in cell.split(",")} - {"–"}


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
    """`m2m.merging.plan.plan` → `merging`, `analysis.fidelity.core` → `analysis`."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "m2m" else first


def folder_of(file: Path) -> str:
    """`csrc/core/dtype.h` → `csrc/core`."""
    return str(file.relative_to(ROOT).parent)


def includes(file: Path) -> list[tuple[str, str]]:
    """Every header a C++ file includes, with the quote before it."""
    return re.findall(
        r'^\s*#\s*include\s*([<"])([^>"]+)', file.read_text(encoding="utf-8"), flags=re.MULTILINE
    )


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
            # `from m2m import ops` imports a module; `from m2m.ops import weighted_sum` one of its names.
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


def module_of(file: Path) -> str:
    """`m2m/merging/__init__.py` → `m2m.merging`."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def nodes_that_run(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node, functions' too; but what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from nodes_that_run(node)


def modules_imported(file: Path) -> Iterator[str]:
    """Modules that a file imports: at once, when one of its functions is called, or for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PACKAGES:
            base = node.module or ""
            for alias in node.names:
                yield f"{base}.{alias.name}" if is_file(f"{base}.{alias.name}") else base
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in PACKAGES)


def is_file(name: str) -> bool:
    """Whether a dotted name is a module or package of the project."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


TABLE = rooms_of_the_document()
FOLDERS = [room for room in TABLE if room.startswith("csrc/")]
CORE = sorted(file for file in (ROOT / "csrc").rglob("*.*") if file.suffix != ".md")
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


@pytest.mark.parametrize("room", [room for room in TABLE if room not in FOLDERS])
def test_the_document_names_the_imports_of_a_room(room: str) -> None:
    found: dict[str, str] = {}
    for file in FILES:
        if room_of(".".join(file.relative_to(ROOT).with_suffix("").parts)) == room:
            for line, name in imports(file):
                if is_module(name) or room_of(name) in TABLE:
                    found.setdefault(room_of(name), f"{file.relative_to(ROOT)}:{line} imports {name}")
    found.pop(room, None)
    unnamed = {there: where for there, where in found.items() if there not in TABLE[room]}
    assert not unnamed, f"docs/architecture.md does not say that {room} imports {unnamed}"
    assert set(TABLE[room]) == set(found), f"{room} does not import {set(TABLE[room]) - set(found)}"


def test_no_module_takes_the_place_of_a_public_function() -> None:
    """`import m2m.NAME` sets `m2m.NAME`: whoever comes first would decide what it is."""
    for face, package in ((m2m, "m2m"), (analysis, "analysis")):
        called = {name for name in face.__all__ if callable(getattr(face, name))}
        assert not [name for name in called if is_file(f"{package}.{name}")]


def test_the_document_has_the_parts_of_analysis() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `analysis/(\w+)/` \|", text, flags=re.MULTILINE)) - {""}
    parts = {path.parent.name for path in (ROOT / "analysis").glob("*/__init__.py")}
    assert named == parts, f"the table Inside `analysis/` of docs/architecture.md: {named ^ parts}"


def test_every_file_is_in_a_room() -> None:
    rooms = {file: room_of(".".join(file.relative_to(ROOT).with_suffix("").parts)) for file in FILES}
    assert not {file: room for file, room in rooms.items() if room not in TABLE}


def test_test_files_have_names_of_their_own() -> None:
    """Pytest imports them by name alone, and finds two of one name an error as soon as it meets both."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_no_file_imports_itself_in_a_circle() -> None:
    """Late ones and types count too: what two files need of each other belongs into one, or into a third."""
    graph = {module_of(file): set(modules_imported(file)) for file in FILES}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path[path.index(module) :], module))
        if module not in done:
            for there in sorted(graph.get(module, ())):
                walk(there, (*path, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())


@pytest.mark.parametrize(
    ("part", "below"), [("tasks", set()), ("live", {"tasks"}), ("streamed", {"tasks", "live"})]
)
def test_parts_of_scoring_import_one_way(part: str, below: set[str]) -> None:
    files = sorted((ROOT / "m2m" / "scoring" / part).rglob("*.py"))
    names = {name for file in files for _, name in imports(file) if name.startswith("m2m.scoring.")}
    # The heap's settings need nothing of scoring.
    assert {name.split(".")[2] for name in names} - {part, "heap"} == below


def test_the_document_names_the_doors_to_the_compiled_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paragraph = next(part for part in text.split("\n\n") if part.startswith("The compiled module"))
    doors = {
        str(file.relative_to(ROOT))
        for file in FILES
        for node in nodes_that_run(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and "_core" in re.split(r"\W+", ast.unparse(node))
    }
    assert doors == set(re.findall(r"`(m2m/[^`]+\.py)`", paragraph))


def test_no_arrow_between_searching_and_training() -> None:
    assert "training" not in reachable("searching", TABLE)
    assert "searching" not in reachable("training", TABLE)


def test_one_file_of_m2m_knows_the_theory_and_the_figures() -> None:
    knowing = {room for room in TABLE if {"analysis", "paper_figs"} & reachable(room, TABLE)}
    assert knowing == {"verbs", "cli", "analysis", "paper_figs"}
    files = {
        file.relative_to(ROOT / "m2m").as_posix()
        for file in (ROOT / "m2m").rglob("*.py")
        if any(room_of(name) in {"analysis", "paper_figs"} for _, name in imports(file))
    }
    assert files == {"verbs/theory.py", "cli/reference.py"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_document_names_the_includes_of_a_folder(folder: str) -> None:
    files = [file for file in CORE if folder_of(file) == folder]
    names = [name for file in files for quote, name in includes(file) if quote == '"']
    assert TABLE[folder] == {folder_of(ROOT / "csrc" / name) for name in names} - {folder}


@pytest.mark.parametrize("file", CORE, ids=lambda file: str(file.relative_to(ROOT)))
def test_only_one_folder_knows_a_library(file: Path) -> None:
    assert folder_of(file) in FOLDERS
    for quote, name in includes(file):
        if quote == '"':
            assert (ROOT / "csrc" / name).is_file(), f"{name} is not written from csrc/"
        else:
            owners = [folder for folder, headers in KEPT_HEADERS.items() if name.startswith(headers)]
            assert owners in ([], [folder_of(file)]), f"{name} is for {owners[0]}"


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("m2m", {"torch", "numpy", "pandas", "scipy", "matplotlib", "transformers"}),
        (
            "m2m.cli, m2m.checkpoint, m2m.merging, m2m.build",
            {"torch", "pandas", "scipy", "transformers"},
        ),
        (
            "m2m.pipeline, m2m.scoring, m2m.training, m2m.setups",
            {"matplotlib", "transformers", "scipy", "pandas"},
        ),
    ],
)
def test_imports_are_light(modules: str, heavy: set[str]) -> None:
    program = f"import sys, {modules}; print(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
