"""Pick the best candidate of a table of scores, and say by how much it leads the runner-up.

Where per-example values are known (the SQLite file beside the CSV), the lead comes with a 95 % interval from
paired differences; one that contains 0 says that these examples cannot tell the two apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.support.command_line import add_seed

if TYPE_CHECKING:
    from m2m.verbs.select import Selection

HELP = "pick the best candidate of a table of scores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "table", type=Path, metavar="SCORES.csv", help="a table of `m2m score`, or a run folder"
    )
    parser.add_argument("--metric", metavar="M", help="the metric (needed if the table has several)")
    parser.add_argument("--task", metavar="T", help="the task or target (needed if the table has several)")
    parser.add_argument("--split", default="validation", metavar="S", help="the split (default: %(default)s)")
    parser.add_argument(
        "--origin",
        default="merged",
        choices=["merged", "trained"],
        help="whose scores (default: %(default)s)",
    )
    parser.add_argument(
        "--task-version",
        dest="version",
        metavar="V",
        help="the task's version (needed if the table has scores from before and after a change of the task)",
    )
    add_seed(parser, "training seed of trained models, if there are several")


def execute(args: argparse.Namespace) -> int:
    """Pick a candidate."""
    from dataclasses import asdict

    from m2m.cli.output import print_json
    from m2m.verbs.select import select

    found = select(
        args.table, task=args.task, metric=args.metric, split=args.split, origin=args.origin,
        version=args.version, seed=args.seed,
    )  # fmt: skip
    if args.json:
        outcome = asdict(found)
        if found.runner_up is not None and found.runner_up.difference is None:
            del outcome["runner_up"]["difference"]
        print_json(outcome)
    else:
        _tell(found)
    return 0


def _tell(found: Selection) -> None:
    from m2m.mixture import shown_label

    direction = "higher" if found.higher_is_better else "lower"
    where = f"{found.metric} on {found.task} ({found.split}, {direction} is better)"
    print(f"picked: {shown_label(found.picked)}")
    print(f"{where}: {found.value:.6g}, best of {found.candidates}")
    if found.ties:
        ties = "1 other has" if found.ties == 1 else f"{found.ties} others have"
        print(
            f"tied: {ties} exactly this value; the pick is the one with the fewest datasets, then the first"
        )
    other = found.runner_up
    if other is None:
        return
    print(f"runner-up: {shown_label(other.candidate)}, {other.value:.6g}")
    if lead := other.difference:
        verdict = "" if lead.low > 0 or lead.high < 0 else ": these examples cannot tell the two apart"
        interval = f"{lead.value:+.3g} [{lead.low:+.3g}, {lead.high:+.3g}]"
        print(f"paired difference: {interval}, {lead.n} examples{verdict}")
