"""Pick the best candidate of a table of scores, and say by how much it leads the runner-up.

Where per-example values are known (the SQLite file beside the CSV), the lead comes with a 95 % interval from
paired differences; one that contains 0 says that these examples cannot tell the two apart.

With --pairs, scores of models really trained on every pair of the datasets, the merged scores of larger
mixtures are corrected by what training added to their pairs (docs/searching.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.support.shared_options import add_seed

if TYPE_CHECKING:
    from m2m.verbs.select import Selection

HELP = "pick the best candidate of a table of scores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "table", type=Path, metavar="SCORES.csv", help="a table of `m2m score`, or a run folder"
    )
    parser.add_argument(
        "--metric",
        metavar="M",
        help="the metric (default: the headline metric, which the SQLite file beside the table knows)",
    )
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
    add_seed(parser, "training seed of trained models, if there are several (of --pairs: all are averaged)")
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="TRAINED.csv",
        help="a table or run folder with trained scores of every pair of datasets: correct merged scores by "
        "them",
    )


def execute(args: argparse.Namespace) -> int:
    """Pick a candidate."""
    from dataclasses import asdict

    from m2m.cli.output import print_json
    from m2m.verbs.select import select

    found = select(
        args.table, task=args.task, metric=args.metric, split=args.split, origin=args.origin,
        version=args.version, seed=args.seed, pairs=args.pairs,
    )  # fmt: skip
    if args.json:
        outcome = asdict(found)
        if found.runner_up is not None and found.runner_up.difference is None:
            del outcome["runner_up"]["difference"]
        if found.pairs is None:
            del outcome["pairs"]
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
    if pairs := found.pairs:
        alone = "the same" if pairs.merged_pick == found.picked else shown_label(pairs.merged_pick)
        print(
            f"corrected by {pairs.trainings} trained pairs: {pairs.added:+.3g} to its merged score; without "
            f"them the pick is {alone}"
        )
        if check := pairs.check:
            worse = "" if check.error < check.error_merged else ": take the pick without them"
            print(
                f"error on {check.trainings} larger trained mixtures: {check.error:.3g}, without pairs "
                f"{check.error_merged:.3g}{worse}"
            )
        else:
            print("no larger mixture was trained that could tell whether the pairs help: train one or two")
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
        verdict = "" if lead.tells_apart else ": these examples cannot tell the two apart"
        print(f"paired difference: {lead.shown}, {lead.n} examples{verdict}")
