"""`m2m-analysis`: finds the verb, runs it, and turns whatever happens into an exit code.

Exit codes: 0 done, 2 the user's input, 1 our fault, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from m2m.errors import M2MError

DONE, OUR_FAULT, USERS_INPUT, INTERRUPTED = 0, 1, 2, 130

#: A verb is a module of `analysis.commands` with HELP, `add_arguments(parser)` and `execute(args) -> int`.
VERBS = ("fidelity", "orthogonality", "curvature", "interaction", "error_bound", "validate")


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in the command line as one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Leave with exit code 2.

        Args:
            message: What is wrong with the command line.
        """
        self.exit(USERS_INPUT, f"m2m-analysis: error: {message} (try `{self.prog} --help`)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `m2m-analysis` command.

    Args:
        argv: The arguments after the program's name; those of this process by default.

    Returns:
        The exit code.
    """
    args = build_parser().parse_args(argv)
    try:
        return int(args.execute(args))
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except M2MError as error:
        return _say(f"error: {error}", error.exit_code)
    except OSError as error:
        return _say(f"error: {error}", USERS_INPUT)
    except Exception:
        traceback.print_exc()
        return _say("this is a fault of m2m, not yours: please report it with the text above", OUR_FAULT)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs.

    Returns:
        The parser; parsed arguments carry the verb's `execute`.
    """
    parser = _Parser(
        prog="m2m-analysis", description="When and why merged models stand in for mixture-trained ones."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in VERBS:
        verb = import_module(f"analysis.commands.{name}")
        described = verbs.add_parser(name.replace("_", "-"), help=verb.HELP, description=verb.__doc__)
        verb.add_arguments(described)
        described.set_defaults(execute=verb.execute)
    return parser


def _say(message: str, code: int) -> int:
    print(f"m2m-analysis: {message}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
