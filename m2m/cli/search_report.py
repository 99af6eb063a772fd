"""What `m2m search` prints and writes: the pick, how sure it is, what to try next, and everything tried."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.cli.output import print_json, print_table
from m2m.searching import Belief, Contender, Evaluation, SearchResult, Utility
from m2m.support.csv_tables import write_rows

if TYPE_CHECKING:
    from m2m.cli.search_race import Race

#: Fewest evaluations from which a belief is worth printing.
ENOUGH = 8


def write(path: Path, result: SearchResult) -> None:
    """Write everything tried as CSV: candidate, value, its standard error, what was predicted, weights.

    Args:
        path: The file; replaced in one step if it is there.
        result: The search.
    """
    rows = (
        [step.mixture.label, step.value, step.error, step.predicted, *step.mixture.weights]
        for step in result.trajectory
    )
    write_rows(path, ["candidate", "value", "error", "predicted", *result.best.datasets], rows)


def tell(
    args: argparse.Namespace,
    picked: Evaluation,
    result: SearchResult,
    belief: Belief | None,
    utility: Utility,
    race: Race | None = None,
) -> None:
    """Print the outcome.

    Args:
        args: The parsed options.
        picked: The best evaluation within the limits.
        result: The search.
        belief: How sure it is; None after few evaluations.
        utility: What was maximised.
        race: The race underneath, if there was one.
    """
    if args.json:
        print_json(_outcome(picked, result, belief, utility) | _race(race))
        return
    if args.quiet:
        return
    print(f"picked: {picked.mixture.shown}")
    shown = ", ".join(f"{task} {value:.6g}" for task, value in utility.scores(picked.mixture).items())
    print(f"{shown}: best of {result.evaluations} tried")
    if race is not None:
        spent, whole = race.raced.evaluations, race.all_evaluations
        print(f"race: {spent} of {whole} example evaluations, {1 - spent / whole:.0%} saved")
    if belief is not None:
        _tell_belief(belief)


def _race(race: Race | None) -> dict[str, Any]:
    if race is None:
        return {}
    return {"race": {"evaluations": race.raced.evaluations, "of": race.all_evaluations}}


def _tell_belief(belief: Belief) -> None:
    pick = belief.pick
    print(f"expected best: {pick.mixture.shown}, {pick.value:.6g} ± {pick.deviation:.2g}")
    print(f"probability that it is the best of all: {pick.probability:.0%}")
    print(f"expected regret: {belief.regret:.2g}")
    print(f"expected worst: {belief.worst.mixture.shown}, {belief.worst.value:.6g}")
    if belief.contenders:
        print("not told apart from it:")
        print_table([_cells(contender) for contender in belief.contenders])
    if belief.next:
        print("try next: " + ", ".join(mixture.shown for mixture in belief.next))
    for note in belief.notes:
        print(f"note: {note}")


def _cells(contender: Contender) -> list[str]:
    believed = f"{contender.value:.6g} ± {contender.deviation:.2g}"
    tried = "tried" if contender.tried else "not tried"
    return ["  " + contender.mixture.shown, believed, f"{contender.probability:.0%}", tried]


def _outcome(
    picked: Evaluation, result: SearchResult, belief: Belief | None, utility: Utility
) -> dict[str, Any]:
    outcome: dict[str, Any] = {
        "picked": picked.mixture.label,
        "weights": picked.mixture.shares,
        "value": picked.value,
        "scores": dict(utility.scores(picked.mixture)),
        "evaluations": result.evaluations,
        "complete": result.complete,
        "front": [{"candidate": m.label, "scores": dict(scores)} for m, scores in utility.front()],
    }
    if belief is not None:
        outcome["belief"] = {
            "pick": _contender(belief.pick),
            "contenders": [_contender(contender) for contender in belief.contenders],
            "next": [mixture.label for mixture in belief.next],
            "regret": belief.regret,
            "worst": _contender(belief.worst),
            "noise": belief.noise,
            "notes": list(belief.notes),
        }
    return outcome


def _contender(contender: Contender) -> dict[str, Any]:
    return {
        "candidate": contender.mixture.label,
        "weights": contender.mixture.shares,
        "value": contender.value,
        "deviation": contender.deviation,
        "probability": contender.probability,
        "tried": contender.tried,
    }
