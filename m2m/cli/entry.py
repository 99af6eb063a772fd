"""`m2m`: its verbs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from m2m.support.command_line import Parser, add_common, enter

#: In the order of the work. A verb is a module with HELP, `add_arguments(parser)` and `execute(args) -> int`;
#: at import it uses nothing heavier than the standard library.
VERBS = (
    "run",
    "mix",
    "merge",
    "verify",
    "score",
    "select",
    "search",
    "predict",
    "export",
    "data",
    "report",
    "doctor",
)

_EPILOG = """\
exit codes: 0 done, 2 something in your input, 1 a fault of m2m, 130 interrupted.
Everything resumes: after an interruption run the same command again."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `m2m` command.

    Args:
        argv: The arguments after the program's name; those of this process by default.

    Returns:
        The exit code.
    """
    return enter(build_parser(), argv)


def build_parser() -> Parser:
    """Build the parser of all verbs.

    Returns:
        The parser; parsed arguments carry the verb's `execute`.
    """
    parser = Parser(
        prog="m2m",
        description="Find the best data mixture for fine-tuning by merging experts, not by training it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in VERBS:
        verb = import_module(f"m2m.cli.{name}")
        described = verbs.add_parser(name, help=verb.HELP, description=verb.__doc__, formatter_class=_Help)
        verb.add_arguments(described)
        add_common(described)
        described.set_defaults(execute=verb.execute)
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of a verb's docstring."""


class _Version(argparse.Action):
    """Prints the version, which is looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from m2m.version import __version__

        print(f"m2m {__version__}")
        parser.exit()
