"""Arguments of public functions: what messages call them, in Python and on a command line; counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from m2m.errors import ConfigError
from m2m.support.schema import check_whole

#: Largest count that the compiled module and torch can take.
MOST = 2**31 - 1
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


def check_several(name: str, values: object) -> None:
    """Refuse one text where several are wanted: taken apart, it would be as many letters."""
    if isinstance(values, str):
        raise ConfigError(f"{argument(name)} must be a list, got {values!r}: write [{values!r}]")


def check_count(name: str, value: int | None, least: int = 1, most: int = MOST) -> None:
    """Refuse what is no whole number from `least` to `most`; None, which stands for a default, passes."""
    if value is not None:
        check_whole(argument(name), value, least)
        if value > most:
            raise ConfigError(f"{argument(name)} may be {most} at most, got {value!r:.60}")
