"""`main`: finds the verb, runs it, and turns whatever happens into an exit code.

Exit codes: 0 done, 2 the user's input, 1 our fault, 130 interrupted, 141 the reader of our output went away.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from m2m.cli.parser import Parser, add_common
from m2m.errors import M2MError

DONE, OUR_FAULT, USERS_INPUT, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

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

#: What the system says when the user's disk, quota or permissions stand in the way.
_USERS_SYSTEM = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG}

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
    args = build_parser().parse_args(argv)
    logging.basicConfig(format="m2m: %(message)s", level=logging.INFO if args.verbose else logging.WARNING)
    try:
        code = int(args.execute(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # What is left in the buffer has no reader; without this the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        return INTERRUPTED
    except Exception as error:
        return _report(error, verbose=args.verbose)


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


def _report(error: Exception, *, verbose: bool) -> int:
    """Return the exit code of an error, after printing it the way its kind deserves."""
    ours = not isinstance(error, M2MError) and getattr(error, "errno", None) not in _USERS_SYSTEM
    if ours or verbose:
        traceback.print_exception(error)
    if ours:
        _say("this is a fault of m2m, not yours: please report it with the text above and `m2m doctor`")
        return OUR_FAULT
    _say(f"error: {error}")
    return error.exit_code if isinstance(error, M2MError) else USERS_INPUT


def _say(message: str) -> None:
    print(f"m2m: {message}", file=sys.stderr, flush=True)
