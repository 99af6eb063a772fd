"""`m2m-analysis`: its verbs."""

from __future__ import annotations

from collections.abc import Sequence

from m2m.support.command_line import Program
from m2m.support.exit_codes import enter

PROGRAM = Program(
    "m2m-analysis",
    description="When and why merged models stand in for mixture-trained ones.",
    package="analysis.commands",
    verbs=(
        "fidelity",
        "trust",
        "orthogonality",
        "curvature",
        "interaction",
        "error-bound",
        "outlook",
        "validate",
        "papers",
    ),
    epilog="exit codes: 0 done, 2 something in your input, 1 a fault of m2m, 130 interrupted.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `m2m-analysis` command.

    Args:
        argv: The arguments after the program's name; those of this process by default.

    Returns:
        The exit code.
    """
    return enter(PROGRAM, argv)


if __name__ == "__main__":
    raise SystemExit(main())
