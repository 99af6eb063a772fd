"""What `m2m search` maximises, read from its options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from m2m.cli.search_source import Source
from m2m.errors import ConfigError
from m2m.searching import Utility
from m2m.searching.utility import Limit
from m2m.support.schema import did_you_mean


def read_utility(args: argparse.Namespace, source: Source) -> Utility:
    """Read what is to be maximised from the options.

    Args:
        args: The parsed options of `m2m search`.
        source: Where scores come from.

    Returns:
        The utility.

    Raises:
        ConfigError: If there are several tasks and no weights, or a name is no task's.
    """
    tasks = list(source.higher_is_better)
    weights, limits = shares(args.weigh, "--weigh"), [limit(text) for text in args.keep]
    if not weights and len(args.target or ()) == 1 and args.run is not None:
        weights = {args.target[0]: 1.0}
    if not weights:
        if len(tasks) > 1:
            raise ConfigError(f"there are several tasks, say --weigh TASK=WEIGHT with some of {tasks}")
        weights = {tasks[0]: 1.0}
    for name in [*weights, *(each.task for each in limits)]:
        if name not in tasks:
            raise ConfigError(f"no task {name!r}{did_you_mean(name, tasks)}; there are {tasks}")
    return Utility(source.scores, weights, source.higher_is_better, limits, source.prepare)


def shares(words: Sequence[str], option: str) -> dict[str, float]:
    """Read `NAME=NUMBER` words.

    Args:
        words: The words.
        option: Where they come from, for messages.

    Returns:
        Number by name.

    Raises:
        ConfigError: If a word has another form, or a name is there twice.
    """
    numbers: dict[str, float] = {}
    for word in words:
        name, separator, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            separator = ""
        if not separator or not name or name in numbers:
            raise ConfigError(f"{option}: wanted NAME=NUMBER, each name once, got {word!r}")
        numbers[name] = value
    return numbers


def limit(text: str) -> Limit:
    """Read a limit on a task's score.

    Args:
        text: `TASK>=BOUND` or `TASK<=BOUND`.

    Returns:
        The limit.

    Raises:
        ConfigError: If it has another form.
    """
    found = re.fullmatch(r"(.+?)(>=|<=)([-+.\deE]+)", text)
    if found is None:
        raise ConfigError(f"--keep: wanted TASK>=BOUND or TASK<=BOUND (in quotes), got {text!r}")
    try:
        return Limit(found[1], float(found[3]), found[2] == ">=")
    except ValueError:
        raise ConfigError(f"--keep: {found[3]!r} in {text!r} is no number") from None
