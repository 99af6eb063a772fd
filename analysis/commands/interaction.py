"""Measure the residual between mixture-trained and merged models beside its second-order prediction.

Writes interaction.json, interaction.csv (a row a mixture) and the figure. Needs a run with validate = true.
With --step-sizes one mixture and its experts are trained at full batch instead, at growing steps, by gradient
descent or another --optimizer; interaction_steps.json, .csv and the figure show where theory stops explaining
the residual.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.commands.shared import add_run_arguments, report, shown
from m2m.errors import ConfigError

if TYPE_CHECKING:
    from analysis.interaction.explained import ExplainedStudy
    from analysis.interaction.study import InteractionStudy

HELP = "the residual between trained and merged models: measured, predicted, corrected"
OPTIMIZERS = ("sgd", "momentum", "adam")
#: Every example is in every step of full-batch training.
FEW_EXAMPLES = 4

Number = TypeVar("Number", int, float)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_arguments(parser, examples=64, note=f"; {FEW_EXAMPLES} with --step-sizes")
    parser.add_argument(
        "--anchored",
        type=float,
        metavar="SHARE",
        help="also train experts on this share of their own data, and the rest of all datasets",
    )
    parser.add_argument(
        "--step-sizes",
        nargs="?",
        const="",
        metavar="LIST",
        help="train at full batch at these η‖H‖, say 1/64,1/8,1 (without a list: 1/64 to 2)",
    )
    parser.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        help="with --step-sizes: what trains, with the run's own momentum, betas and decay (default sgd)",
    )
    parser.add_argument(
        "--horizons", metavar="LIST", help="with --step-sizes: numbers of steps (default 2,4,8)"
    )
    parser.add_argument(
        "--mixture",
        metavar="A+B",
        help="with --step-sizes: datasets to mix in equal parts (default: all of them)",
    )


def execute(args: argparse.Namespace) -> int:
    """Measure, and print what of the residual is explained and corrected."""
    from analysis.interaction.explained import ExplainedStudy
    from analysis.studies import measure_interaction

    outcome = measure_interaction(
        args.run, args.out, target=args.target, examples=args.examples, float32=args.float32,
        anchored=args.anchored, mixture=args.mixture, optimizer=args.optimizer,
        step_sizes=_numbers(args.step_sizes, "--step-sizes", _fraction),
        horizons=_numbers(args.horizons, "--horizons", _horizon),
    )  # fmt: skip
    study, content = outcome.study, outcome.content
    lines = _found(study) if isinstance(study, ExplainedStudy) else _residual(study, content)
    report(args, outcome, {key: content[key] for key in content if key not in ("residuals", "points")}, lines)
    return 0


def _residual(study: InteractionStudy, content: Mapping[str, Any]) -> list[str]:
    lines = [
        f"residual / travel: mean {shown(content['mean_relative'], '.3g')} "
        f"over {len(study.residuals)} mixtures",
        f"of {content['pairs']} pairs the residual flips {len(study.flipped)}, "
        f"its first-order effect {len(study.flipped_by_effect)}",
    ]
    if content["mean_corrected"] is not None:
        lines.append(f"left by the Scheffé correction: {content['mean_corrected']:.3g} of the residual")
    if study.anchored:
        lines.append(f"left by anchored experts: {shown(study.anchored.ratio, '.3g')} of the residual")
    lines.append(_explained(study))
    if study.outside:
        lines.append(f"the prediction leaves out that {'; '.join(study.outside)}")
    return lines


def _explained(study: InteractionStudy) -> str:
    parts = {"to second order": study.explained()}
    if study.rule.adaptive:
        parts = {"by first order": study.explained(first_order=True), **parts}
    if any(part.value is None for part in parts.values()):
        return f"share explained without the seed's noise: not known, {study.explained().reason}"
    words = (
        f"{shown(part.value, '.1%')} [{shown(part.low, '.1%')}, {shown(part.high, '.1%')}] {order} "
        f"({shown(part.direction, '.1%')} with the best length)"
        for order, part in parts.items()
    )
    return f"share of the seed-free ‖Δ‖² explained: {', '.join(words)}"


def _found(study: ExplainedStudy) -> list[str]:
    lines = [f"{study.mixture.label}, full-batch {study.optimizer}, share of ‖Δ‖² explained to second order:"]
    for horizon in sorted({point.steps for point in study.points}):
        points = [point for point in study.points if point.steps == horizon]
        shares = (f"{shown(point.second_order.share, '.2%')} at {point.step_size:g}" for point in points)
        reach = study.reach(horizon)
        verdict = "nowhere 95 %" if reach is None else f"95 % or more up to η‖H‖ = {reach:g}"
        lines.append(f"T = {horizon}: {verdict} ({', '.join(shares)})")
    return lines


def _numbers(text: str | None, option: str, read: Callable[[str], Number]) -> list[Number] | None:
    if text is None:
        return None
    try:
        return [read(part) for part in text.split(",")] if text else []
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"{option} {text}: wanted numbers above 0 with commas between them") from None


def _fraction(text: str) -> float:
    over, _, under = text.partition("/")
    value = float(over) / float(under or 1)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def _horizon(text: str) -> int:
    if not (text.strip().isdecimal() and 0 < len(text.strip()) < 10 and int(text)):
        raise ValueError(text)
    return int(text)
