"""Writes the references in docs/ from the programs: of the commands, and of a run's configuration.

Text and program cannot disagree then.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from pathlib import Path

import analysis.cli
import m2m.cli.entry
from m2m.pipeline import config_tables
from m2m.support.command_line import Parser, Program
from m2m.support.files import write_atomically

_HEAD = """\
# Command line

Written by `make docs` from the program's own help. `m2m VERB --help` says the same.

Exit codes: 0 done, 2 something in your input (one line on stderr; `-v` shows where it came from), 1 a fault
of m2m (with a traceback to report), 130 interrupted, 141 the reader of the output went away. Nothing is ever
half written: an interrupted command goes on when it is given again.

Amounts of memory are written `256MiB` (powers of 1024) or `5GB` (powers of 1000).
"""


_ANALYSIS_HEAD = """\
# Command line of the theory

Written by `make docs` from the program's own help. `m2m-analysis VERB --help` says the same; `theory.md` says
what is computed, and from which formula.

Exit codes: 0 done, 2 something in your input (one line on stderr), 1 a fault of m2m (with a traceback to
report), 130 interrupted. Every file is written in one step.
"""


def reference() -> str:
    """Describe every verb of `m2m` in Markdown."""
    return _page(_HEAD, m2m.cli.entry.PROGRAM)


def analysis_reference() -> str:
    """Describe every verb of `m2m-analysis` in Markdown."""
    return _page(_ANALYSIS_HEAD, analysis.cli.PROGRAM)


def main() -> None:
    """Write the references into the folder of the file named on the command line, `m2m`'s to that file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="docs/cli.md")
    path = parser.parse_args().path
    write_atomically(path, reference())
    write_atomically(path.parent / "analysis_cli.md", analysis_reference())
    write_atomically(path.parent / "configuration.md", config_tables.reference())
    write_atomically(path.parent / "configuration.schema.json", config_tables.json_schema_text())


def _page(head: str, program: Program) -> str:
    return "\n".join([head, *(_section(program.verb_parser(name)) for name in program.verbs)])


def _section(parser: Parser) -> str:
    rows = "\n".join(f"| {_invocation(action)} | {_meaning(action)} |" for action in _actions(parser))
    about = inspect.cleandoc(parser.description or "")
    return f"## {parser.prog}\n\n{about}\n\n| option | meaning |\n| --- | --- |\n{rows}\n"


def _actions(parser: Parser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            yield action


def _invocation(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else "|".join(map(str, action.choices or ())))
    several = " ..." if action.nargs in {"+", "*"} else ""
    words = [f"{option} {value}{several}".strip() for option in action.option_strings] or [
        f"{value}{several}"
    ]
    return ", ".join(f"`{word}`" for word in words).replace("|", "\\|")


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default))
    return (f"{text} (required)" if action.required and action.option_strings else text).replace("|", "\\|")


if __name__ == "__main__":
    main()
