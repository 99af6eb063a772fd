"""Measure the residual between mixture-trained and merged models beside its second-order prediction.

Writes interaction.json, interaction.csv (a row a mixture) and the figure. Needs a run with validate = true.
With --step-sizes one mixture and its experts are trained by full-batch gradient descent instead, at growing
steps; interaction_steps.json, .csv and the figure show where theory stops explaining the residual.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from analysis.commands.on_a_run import add_run_arguments, open_for_study
from analysis.commands.shared import report, shown
from m2m.errors import ConfigError

if TYPE_CHECKING:
    from analysis.interaction import ExplainedStudy

HELP = "the residual between trained and merged models: measured, predicted, corrected"
#: Every example is in every step of full-batch gradient descent.
FEW_EXAMPLES = 4

Number = TypeVar("Number", int, float)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: The verb's parser.
    """
    add_run_arguments(parser, examples=64, results="interaction", note=f"; {FEW_EXAMPLES} with --step-sizes")
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
        help="train by full-batch gradient descent at these η‖H‖, say 1/64,1/8,1 (without a list: 1/64 to 2)",
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
    """Do what the command line says.

    Args:
        args: The parsed options.

    Returns:
        The exit code 0.

    Raises:
        ConfigError: If options do not go together.
    """
    if args.step_sizes is not None:
        return _step_sizes(args)
    for name in ("horizons", "mixture"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} says what --step-sizes trains; give --step-sizes too")
    run = open_for_study(args)
    from analysis.interaction.study import NAME, REASONS, of_run, to_json, to_tables
    from analysis.results import provenance, write_results
    from paper_figs.mergemix import residual

    study = of_run(run, args.target, anchored=args.anchored)
    content = to_json(study)
    write_results(args.out, NAME, content | {"source": provenance(run)}, to_tables(study), REASONS)
    residual.draw(args.out, args.out)
    sentences = [
        f"residual / travel: mean {shown(content['mean_relative'], '.3g')} "
        f"over {len(study.residuals)} mixtures",
        f"of {content['pairs']} pairs the residual flips {len(study.flipped)}, "
        f"its first-order effect {len(study.flipped_by_effect)}",
    ]
    if content["mean_corrected"] is not None:
        sentences.append(f"left by the Scheffé correction: {content['mean_corrected']:.3g} of the residual")
    if study.anchored:
        sentences.append(f"left by anchored experts: {shown(study.anchored.ratio, '.3g')} of the residual")
    if study.outside:
        sentences.append(f"the prediction is for gradient descent, but {'; '.join(study.outside)}")
    report(args, {key: value for key, value in content.items() if key != "residuals"}, sentences, REASONS)
    return 0


def _step_sizes(args: argparse.Namespace) -> int:
    if args.anchored is not None or args.target is not None:
        raise ConfigError(
            "--step-sizes trains one mixture and looks at no target: no --anchored, no --target"
        )
    sizes = _numbers(args.step_sizes, "--step-sizes", _fraction)
    horizons = _numbers(args.horizons, "--horizons", _horizon)
    run = open_for_study(args, FEW_EXAMPLES)
    from analysis.interaction.explained import (
        HORIZONS,
        NAME,
        REASONS,
        STEP_SIZES,
        explained_of_run,
        to_json,
        to_tables,
    )
    from analysis.results import provenance, write_results
    from m2m.mixture import Mixture
    from paper_figs.mergemix import explained

    mixture = Mixture.parse(args.mixture, run.datasets) if args.mixture else None
    study = explained_of_run(run, mixture, sizes or STEP_SIZES, horizons or HORIZONS)
    content = to_json(study)
    write_results(args.out, NAME, content | {"source": provenance(run)}, to_tables(study), REASONS)
    explained.draw(args.out, args.out)
    report(args, {key: value for key, value in content.items() if key != "points"}, _found(study), REASONS)
    return 0


def _found(study: ExplainedStudy) -> list[str]:
    lines = [f"{study.mixture.label}, full-batch gradient descent, share of ‖Δ‖² explained to second order:"]
    for horizon in sorted({point.steps for point in study.points}):
        points = [point for point in study.points if point.steps == horizon]
        shares = (f"{shown(point.second_order.share, '.2%')} at {point.step_size:g}" for point in points)
        reach = study.reach(horizon)
        verdict = "nowhere 95 %" if reach is None else f"95 % or more up to η‖H‖ = {reach:g}"
        lines.append(f"T = {horizon}: {verdict} ({', '.join(shares)})")
    return lines


def _numbers(text: str | None, option: str, read: Callable[[str], Number]) -> Sequence[Number]:
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
