"""Options that several verbs have, and the types of their values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from m2m.errors import ConfigError
from m2m.support.units import parse_bytes

#: What a number of an option looks like: other scripts' digits, signs and 4,300 digits are slips.
_WHOLE = re.compile(r"\s*[0-9]{1,19}\s*")
#: Seeds go to generators that take 63 bits.
_LARGEST = 2**63 - 1


def from_units(read: Callable[[str], int]) -> Callable[[str], int]:
    """Turn a reader that raises `ConfigError` into an argparse type, which keeps the reader's message."""

    def convert(text: str) -> int:
        try:
            return read(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _count_from(lowest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not lowest <= int(text) <= _LARGEST:
            raise ConfigError(f"{text!r:.60} is not a whole number of at least {lowest}")
        return int(text)

    return from_units(read)


#: argparse types: bytes with a unit; a number of workers or threads; a seed.
amount = from_units(parse_bytes)
positive = _count_from(1)
natural = _count_from(0)


def add_out(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--out`, where results go."""
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help=what)


def add_workers(parser: argparse.ArgumentParser, default: str) -> None:
    """Add where work is done and by how many; `default` says what is done without a number."""
    parser.add_argument(
        "--executor", default="local", metavar="WHERE",
        help="local; ray: the cluster of RAY_ADDRESS or of this machine; or ray://HOST:PORT, whose machines "
        "see the same files (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=positive, metavar="N",
        help=f"worker processes (default: {default}; with ray all that the cluster has)",
    )  # fmt: skip


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`; the results do not depend on it."""
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="T",
        help="CPU threads; the results do not depend on it (default: all)",
    )


def add_memory(parser: argparse.ArgumentParser, default: str) -> None:
    """Add `--memory`, a budget for the whole process."""
    parser.add_argument(
        "--memory", type=amount, default=default, metavar="SIZE", help="memory budget (default: %(default)s)"
    )


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add `--resume`."""
    parser.add_argument("--resume", action="store_true", help="go on with what an interruption left")


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--seed`."""
    parser.add_argument("--seed", type=natural, metavar="N", help=what)


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Add `--strict`, the same wherever models are merged."""
    parser.add_argument(
        "--strict", action="store_true", help="what makes a merge doubtful is an error, not a warning"
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every verb has: `--json`, `-v`, `-q`."""
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="log more; show where an error came from"
    )
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="no progress and no summary, only errors"
    )
