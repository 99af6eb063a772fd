"""`m2m`: its verbs."""

from __future__ import annotations

from collections.abc import Sequence

from m2m.support.command_line import Program
from m2m.support.exit_codes import enter

#: The verbs in the order of the work.
PROGRAM = Program(
    "m2m",
    description="Find the best data mixture for fine-tuning by merging experts, not by training it.",
    package="m2m.cli",
    verbs=(
        "init", "run", "mix", "check", "merge", "diff", "info", "extract-lora", "moments", "verify", "score",
        "select", "search", "predict", "export", "data", "report", "compare", "doctor",
    ),
    epilog="""\
exit codes: 0 done, 2 something in your input, 1 a fault of m2m, 130 interrupted.
Everything resumes: after an interruption run the same command again.""",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `m2m` command.

    Args:
        argv: The arguments after the program's name; those of this process by default.

    Returns:
        The exit code.
    """
    return enter(PROGRAM, argv)
