"""What messages call the arguments of public functions, in Python and on a command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

#: How the command line that is running calls the arguments; empty under Python.
_options: dict[str, str] = {}


def argument(name: str, value: object = None) -> str:
    """Return what a message calls an argument: `memory`, or `--memory` under a command line.

    With a value: `out=scores.csv` or `--out scores.csv`; a value of True: `train=True` or `--train`.
    """
    option = _options.get(name)
    if value is None:
        return option or name
    if option is None:
        return f"{name}={value}"
    return option if value is True else f"{option} {value}"


@contextmanager
def called(options: Mapping[str, str]) -> Iterator[None]:
    """Let messages call arguments by these options while the block runs."""
    before = dict(_options)
    _options.clear()
    _options.update(options)
    try:
        yield
    finally:
        _options.clear()
        _options.update(before)
