"""`m2m-analysis`: its verbs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from m2m.support.command_line import Parser, add_common, enter

#: A verb is a module of `analysis.commands` with HELP, `add_arguments(parser)` and `execute(args) -> int`.
VERBS = ("fidelity", "orthogonality", "curvature", "interaction", "error_bound", "validate")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `m2m-analysis` command.

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
        prog="m2m-analysis", description="When and why merged models stand in for mixture-trained ones."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in VERBS:
        verb = import_module(f"analysis.commands.{name}")
        described = verbs.add_parser(name.replace("_", "-"), help=verb.HELP, description=verb.__doc__)
        verb.add_arguments(described)
        add_common(described)
        described.set_defaults(execute=verb.execute)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
