"""Say how far merging's choice can be trusted when few of its mixtures were trained.

Reads a table with a row a mixture, all merged and some trained, or a run folder, and writes trust.json,
trust.csv (a row a mixture) and the figure. With --budget it says which mixtures to train that
are not trained yet (a table needs no column of trained scores then), and writes trainings.csv with a column
`purpose`: once their scores are filled in, that table is read here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands.shared import add_shared_arguments, report
from m2m.support.shared_options import natural

if TYPE_CHECKING:
    from analysis.fidelity import IntervalEstimate
    from analysis.trust import Planned, TargetTrust, Trust

HELP = "the pick's regret, and what to train next, from few trained mixtures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "source", type=Path, metavar="TABLE.csv|RUN", help="a table, or a finished run folder"
    )
    parser.add_argument(
        "--merged", metavar="COL", help="column of the merged models' scores (default merged)"
    )
    parser.add_argument(
        "--trained",
        metavar="COL",
        help="column of the mixture-trained models' scores, empty where there is none (default trained)",
    )
    parser.add_argument("--by", metavar="COL", help="column that names the target (tables)")
    parser.add_argument("--again", metavar="COL", help="column of a second training seed's scores (tables)")
    parser.add_argument("--lower-is-better", action="store_true", help="scores are losses (tables)")
    parser.add_argument("--budget", type=natural, metavar="M", help="say only which M more mixtures to train")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.05,
        metavar="E",
        help="how far off the best a pick may be, in ranges of trained scores (default %(default)s)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.9,
        metavar="P",
        help="probability of that at which training can stop (default %(default)s)",
    )
    add_shared_arguments(parser, default_out="the run's figures folder", seed_of="all draws")


def execute(args: argparse.Namespace) -> int:
    """Form the belief, and print what it says; or the design."""
    from analysis.studies import measure_trust
    from analysis.trust import Trust

    outcome = measure_trust(
        args.source, args.out, merged=args.merged, trained=args.trained, by=args.by, again=args.again,
        lower_is_better=args.lower_is_better, budget=args.budget, tolerance=args.tolerance,
        threshold=args.threshold, seed=args.seed,
    )  # fmt: skip
    found = outcome.study
    lines = _sentences(found) if isinstance(found, Trust) else _plan(found, outcome.content["warnings"])
    report(args, outcome, outcome.content, lines)
    return 0


def _plan(planned: list[Planned], warnings: list[str]) -> list[str]:
    purpose = {"random": "drawn by chance", "top": "best by merging of those left"}
    free = [one.mixture.shown for one in planned if one.trained]
    return [
        *(f"train {one.mixture.shown} ({purpose[one.purpose]})" for one in planned if not one.trained),
        *(f"free: {name} (drawn by chance, and trained already)" for name in free),
        *(f"warning: {warning}" for warning in warnings),
    ]


def _sentences(study: Trust) -> list[str]:
    lines = [
        line for target, found in study.by.items() for line in _of_target(target, found, study.tolerance)
    ]
    if study.stop:
        return [*lines, f"enough: within {study.tolerance:.0%} with a probability above {study.threshold:g}"]
    if study.next is None:
        return [*lines, "nothing is left to train, or the targets have different mixtures"]
    regret, after = study.next.regret, study.next.after
    return [
        *lines,
        f"train next: {study.next.mixture} (expected regret {regret:.3g} → {after:.3g}"
        f"{', mean of the targets' if len(study.by) > 1 else ''})",
    ]


def _of_target(target: str, found: TargetTrust, tolerance: float) -> list[str]:
    landscape, picked, merging = found.belief.landscape, found.picked, found.merging
    lines = [
        f"{target}: {landscape.trained_several} of {int(landscape.several.sum())} mixtures of two or more "
        f"datasets are trained; {_in_words(found.agreement['pearson'])}",
        f"  pick {picked.mixture}{'' if picked.trained else ' (not trained)'}: expected regret "
        f"{picked.regret:.3g}, at most {picked.limit:.3g} with 95 %; within {tolerance:.0%} of the best with "
        f"probability {found.enough:.2f}",
    ]
    measured = found.measured
    score = f"  best trained {measured.mixture}: score {landscape.measured[measured.row]:.4g}"
    again = "the pick" if measured.row == picked.row else f"expected regret {measured.regret:.3g}"
    lines.append(f"{score}, {again}")
    if (other := found.by_combined).row != picked.row:
        lines.append(f"  the combined surrogate picks {other.mixture}: expected regret {other.regret:.3g}")
    if merging.row != picked.row:
        lines.append(f"  merging alone picks {merging.mixture}: expected regret {merging.regret:.3g}")
    return lines


def _in_words(estimate: IntervalEstimate) -> str:
    if estimate.value is None:
        return f"no correlation: {estimate.reason}"
    interval = f" [{estimate.low:.2f}, {estimate.high:.2f}]" if estimate.low is not None else ""
    how = "; ".join(filter(None, (estimate.method, estimate.reason)))
    return f"r = {estimate.value:.2f}{interval} from {estimate.n} ({how})"
