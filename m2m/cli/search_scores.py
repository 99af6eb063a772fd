"""Where `m2m search` gets its scores: a finished run, or models merged as they are asked for."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m2m.config_keys import did_you_mean
from m2m.errors import ConfigError, InputError
from m2m.mixture import Mixture
from m2m.searching import Pool, Utility
from m2m.searching.utility import Limit

if TYPE_CHECKING:
    from m2m.run_folder import RunFolder
    from m2m.surrogate import ScoreRow


@dataclass(frozen=True)
class Source:
    """Scores of mixtures.

    Attributes:
        datasets: The N dataset names.
        higher_is_better: Direction by task.
        metrics: The metric that counts, by task.
        scores: Mixture to its score by task.
        examples: Task, mixture and example numbers to the mixture's scores on these, [e].
        counts: Number of examples by task, for those that can be scored on some of them.
        pool: The only mixtures that have scores; None if any mixture can be scored.
    """

    datasets: Sequence[str]
    higher_is_better: Mapping[str, bool]
    metrics: Mapping[str, str]
    scores: Callable[[Mixture], Mapping[str, float]]
    examples: Callable[[str, Mixture, Sequence[int]], NDArray[np.float64]]
    counts: Mapping[str, int]
    pool: Pool | None = None


def open_source(args: argparse.Namespace) -> Source:
    """Find out where scores come from.

    Args:
        args: The parsed options of `m2m search`.

    Returns:
        The source.

    Raises:
        ConfigError: If the options name neither a run nor models, or both.
    """
    live = args.base is not None or args.experts is not None
    if live == (args.run is not None):
        raise ConfigError("search needs a RUN folder, or --base and --experts with a task")
    if not live:
        return _recorded(args)
    if args.base is None or args.experts is None:
        raise ConfigError("--base and --experts go together")
    from m2m.cli.search_live import open_live

    return open_live(args)


def utility(args: argparse.Namespace, source: Source) -> Utility:
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
    weights, limits = shares(args.weigh, "--weigh"), [_limit(text) for text in args.keep]
    if not weights and len(args.target or ()) == 1 and args.run is not None:
        weights = {args.target[0]: 1.0}
    if not weights:
        if len(tasks) > 1:
            raise ConfigError(f"there are several tasks, say --weigh TASK=WEIGHT with some of {tasks}")
        weights = {tasks[0]: 1.0}
    for name in [*weights, *(limit.task for limit in limits)]:
        if name not in tasks:
            raise ConfigError(f"no task {name!r}{did_you_mean(name, tasks)}; there are {tasks}")
    return Utility(source.scores, weights, source.higher_is_better, limits)


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


def _limit(text: str) -> Limit:
    found = re.fullmatch(r"(.+?)(>=|<=)([-+.\deE]+)", text)
    if found is None:
        raise ConfigError(f"--keep: wanted TASK>=BOUND or TASK<=BOUND (in quotes), got {text!r}")
    try:
        return Limit(found[1], float(found[3]), found[2] == ">=")
    except ValueError:
        raise ConfigError(f"--keep: {found[3]!r} in {text!r} is no number") from None


def _recorded(args: argparse.Namespace) -> Source:
    from m2m.run_folder import RunFolder
    from m2m.surrogate import ScoreTable

    folder = RunFolder(args.run)
    if not folder.table.exists():
        raise InputError(f"{args.run} is no run folder: it has no {folder.table.name}")
    with ScoreTable(folder.table) as table:
        rows = table.rows(origin="merged", split=args.split)
    if not rows:
        raise InputError(f"{args.run} has no scores of merged models on the {args.split} split")
    rows = [row for row in rows if row.metric == _the_metric(args, sorted({row.metric for row in rows}))]
    tasks = sorted({row.task for row in rows})
    wanted = _tasks(args, folder)
    if missing := [task for task in wanted if task not in tasks]:
        raise ConfigError(
            f"{args.run} has no target {missing[0]!r}{did_you_mean(missing[0], tasks)}; it has {tasks}"
        )
    known: dict[str, dict[str, ScoreRow]] = {}
    mixtures: dict[str, Mixture] = {}
    rows = [row for row in rows if row.task in wanted]
    for row in rows:
        mixture = Mixture(tuple(row.weights), tuple(row.weights.values()))
        known.setdefault(mixture.key, {})[row.task] = row
        mixtures[mixture.key] = mixture
    scored = [mixture for key, mixture in mixtures.items() if len(known[key]) == len(wanted)]
    pool = Pool(scored)
    every_subset = len(scored) == 2 ** len(pool.datasets) - 1 and all(m.is_subset for m in scored)
    return Source(
        datasets=pool.datasets,
        higher_is_better={row.task: row.higher_is_better for row in rows},
        metrics={row.task: row.metric for row in rows},
        scores=lambda mixture: {task: row.value for task, row in known[mixture.key].items()},
        examples=lambda task, mixture, numbers: known[mixture.key][task].examples[list(numbers)],
        counts={row.task: row.count for row in rows},
        pool=None if every_subset else pool,
    )


def _tasks(args: argparse.Namespace, folder: RunFolder) -> list[str]:
    # The targets that are named anywhere, or the run's own.
    named = [*(args.target or ()), *shares(args.weigh, "--weigh"), *(_limit(text).task for text in args.keep)]
    if named:
        return list(dict.fromkeys(named))
    configured = tomllib.loads(folder.config.read_text(encoding="utf-8"))
    return [configured["run"]["target"]]


def _the_metric(args: argparse.Namespace, there: Sequence[str]) -> str:
    if args.metric is None and len(there) > 1:
        raise ConfigError(f"there are several metrics, say --metric with one of {there}")
    if args.metric is not None and args.metric not in there:
        raise ConfigError(f"no metric {args.metric!r}{did_you_mean(args.metric, there)}; there are {there}")
    return args.metric or there[0]
