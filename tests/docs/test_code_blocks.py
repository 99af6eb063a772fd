"""Code in documents is what the programs take: commands parse, Python compiles, tables load.

What is also run stands beside what it is about: the README, two files of one's own, the theory's snippets,
mergekit's recipes, the page of an own method, data.md; and here the tutorial and the laws.
"""

from __future__ import annotations

import ast
import csv
import importlib
import json
import re
import shlex
import tomllib

import pytest
import yaml
from helpers.documents import DOCUMENTS, ROOT, Block, blocks

import analysis.cli
import m2m.cli.entry

PROGRAMS = {"m2m": m2m.cli.entry.PROGRAM, "m2m-analysis": analysis.cli.PROGRAM}
BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
#: A line of a shell's, its continuations joined, its comment and redirection gone.
_ENDS = re.compile(r"\s+(#|>>?\s|\|\s).*$")
#: What stands for something else: an ellipsis, a choice.
_STANDS_FOR = re.compile(r"…|\.\.\.|\[[^\]]*\]|\s\|\s")


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def lines_of(block: Block) -> list[str]:
    joined = block.text.replace("\\\n", " ")
    return [_ENDS.sub("", line.strip()) for line in joined.splitlines() if line.strip()]


SHELL = [
    (block, line)
    for block in of("sh", "bash", "console", "")
    for line in lines_of(block)
    if line.partition(" ")[0].rpartition("/")[2] in {*PROGRAMS, "make", "python"}
    and not _STANDS_FOR.search(line)
]
#: Between backticks a command may leave out what it needs.
INLINE = [
    block for block in of("inline") if re.match(r"(m2m|m2m-analysis) [a-z][a-z-]*( [^{]*)?$", block.text)
]


@pytest.mark.parametrize(("block", "line"), SHELL, ids=str)
def test_a_command_is_one(block: Block, line: str) -> None:
    program, *words = shlex.split(line)
    program = program.rpartition("/")[2]
    if program == "make":
        targets = {word for word in words if "=" not in word}
        assert targets <= set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    elif program == "python":
        assert words[0] in {"-m", "-c"} or (ROOT / words[0]).exists()
    else:
        code: object = 0
        try:
            PROGRAMS[program].parser(words).parse_args(words)
        except SystemExit as left:  # what only prints, such as --version, leaves from here
            code = left.code
        assert not code


@pytest.mark.parametrize("block", INLINE, ids=str)
def test_a_command_in_a_sentence_has_these_options(block: Block) -> None:
    program, verb, *words = block.text.split()
    known = PROGRAMS[program].verb_parser(verb)._option_string_actions
    given = {word.strip("[],…").partition("=")[0] for word in words if re.match(r"\[?--[a-z]", word)}
    assert given <= set(known)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_compiles_and_imports_what_is_there(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in {"m2m", "analysis"}:
            module = importlib.import_module(str(node.module))
            for each in node.names:
                assert hasattr(module, each.name) or importlib.import_module(f"{node.module}.{each.name}")


@pytest.mark.parametrize("block", of("toml", "yaml", "json", "csv"), ids=str)
def test_a_file_can_be_read(block: Block) -> None:
    if block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "yaml":
        assert yaml.safe_load(block.text)
    elif block.language == "json":
        assert json.loads(block.text)
    else:
        rows = list(csv.reader(block.text.splitlines()))
        assert {len(row) for row in rows} == {len(rows[0])}


def test_every_extra_named_is_one() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    named = {extra for block in BLOCKS for extra in re.findall(r"(?:m2m|\.)\[([a-z-]+)\]", block.text)}
    assert named
    assert named <= set(extras)


def test_languages_are_known() -> None:
    known = {"", "inline", "sh", "python", "toml", "yaml", "json", "csv", "text"}
    assert [str(block) for block in BLOCKS if block.language not in known] == []
