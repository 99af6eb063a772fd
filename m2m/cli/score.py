"""Score merged models of experts that were trained elsewhere, without writing a merged checkpoint.

A TASK is one of
  lm:FILE                 loss in nat a token and bits a byte: of a text; of JSON Lines with `text`, or with
                          `prompt` and `completion`; safetensors of `labels` and the model's inputs
  choice:FILE.jsonl       multiple choice by likelihood: `question`, `choices`, `answer`
  exact_match:FILE.jsonl  what the model writes on from `prompt`, held against `answer`
  generate:FILE.jsonl     what it writes on from `prompt`, judged by your own --judge FILE.py:FUNCTION
  classify:FILE           a table (.jsonl, .csv) of `text` or `image`, and `label`; of `tokens` and `labels`;
                          a folder of images for each class; safetensors of `label` and the model's inputs
  sts:FILE                a table (.jsonl, .csv) of `sentence1`, `sentence2` and `score`, for embedders
  lm_eval:NAME,NAME       tasks, groups or tags of the lm-evaluation-harness
  FILE.py:FUNCTION        your own: score(model) -> {metric: values}
The model is what a Hugging Face folder given as --base describes, or what --model makes; or use a run
configuration's model and targets with --setup and --target. Scores are kept one by one in a SQLite file
beside the CSV, so the same command goes on where it was interrupted. Candidates are named by their
mixture: `a+b`, `a=0.25+b=0.75`. Weights w of a table need not sum to one: the merged model is the base
model plus the sum of w (expert - base), in which the base has weight 1 - sum of w.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.errors import ConfigError
from m2m.support.shared_options import (
    add_out,
    add_strict,
    add_threads,
    add_workers,
    amount,
    natural,
    positive,
)
from m2m.support.units import format_bytes

if TYPE_CHECKING:
    from m2m.scoring import RaceReport, ScoreReport
    from m2m.scoring.tasks import TaskOptions

HELP = "score merged candidates of given experts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add_models(parser, required=True)
    add_tasks(parser)
    add = parser.add_argument
    add(
        "--candidates", default="all", metavar="all|FILE.csv",
        help="all subsets, or a table of weights of any sign and sum (default: %(default)s)",
    )  # fmt: skip
    add("--normalize", action="store_true", help="divide each row of weights by its sum first")
    add(
        "--scale", type=float, default=1.0, metavar="S",
        help="then multiply it with S, as `lambda` of a merge does (default: %(default)s)",
    )  # fmt: skip
    add_means(parser, mode="auto")
    add_workers(parser, "this process with all its cores")
    add(
        "--passes", type=positive, default=1, metavar="G",
        help="streamed: read the experts at least G times, each time for a part of the candidates, so that "
        "an interruption loses at most a part (default: %(default)s)",
    )  # fmt: skip
    add_strict(parser)
    add("--examples", type=Path, metavar="FILE", help="also write every example's score: .csv or .parquet")
    add_out(parser, "the table of scores, NAME.csv; all that is known is kept in NAME.sqlite beside it")
    add_threads(parser)
    _add_race(parser)


def _add_race(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "a race for the best candidate, on one task",
        "Candidates are scored on more and more examples, and those that cannot win any more are dropped. "
        "Writes OUT.race.json and OUT.race.csv; OUT itself has the candidates that reached the last example.",
    )
    add = group.add_argument
    add("--race", action="store_true", help="find the best candidate without scoring all on everything")
    add(
        "--budget", type=_race_budget, metavar="SHARE|COUNT",
        help="most example evaluations: a share of all, as 0.2, or their number (default: 0.2)",
    )  # fmt: skip
    add("--metric", metavar="NAME", help="the metric that decides (default: the task's first)")
    add("--confidence", type=float, metavar="P", help="how sure a drop has to be (default: 0.95)")
    add("--seed", type=natural, metavar="N", help="the order of the examples (default: 0)")


def _race_budget(text: str) -> float:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text) if "." in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a share, as 0.2 or 20%, nor a count") from None


def _limit(text: str) -> float:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of examples nor a share") from None


def add_models(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--base` and `--experts`."""
    add = parser.add_argument
    add("--base", type=Path, required=required, metavar="PATH", help="checkpoint of the base model")
    add(
        "--experts",
        nargs="+",
        required=required,
        metavar="[NAME=]PATH",
        help="the experts' checkpoints; named by the last part of the path, or by the folder that differs",
    )


def add_means(parser: argparse.ArgumentParser, *, mode: str) -> None:
    """Add in which way merged models are scored, and with how much of the machine; `mode` is the default."""
    add = parser.add_argument
    add(
        "--mode", choices=["auto", "resident", "streamed", "stacked"], default=mode,
        help="whole models in memory; all candidates block by block; many small models at once "
        "(default: %(default)s)",
    )  # fmt: skip
    add("--memory", type=amount, metavar="SIZE", help="memory budget (default: half of what is free)")
    add(
        "--device", default="cpu", metavar="D",
        help="where models are merged and run: cpu, cuda, cuda:1 (default: %(default)s)",
    )  # fmt: skip


def add_tasks(parser: argparse.ArgumentParser) -> None:
    """Add what merged models are scored on: tasks, or a run configuration's targets."""
    add = parser.add_argument
    add("--task", nargs="+", metavar="TASK", help="what to score on, see above")
    add("--model", metavar="FILE.py:FACTORY", help="your own module: factory() -> torch module")
    add("--setup", type=Path, metavar="CONFIG.toml", help="run configuration whose [setup] is used")
    add("--target", nargs="+", metavar="NAME", help="targets of the set-up")
    add(
        "--split", choices=["validation", "test"], default="validation",
        help="split of the targets (default: %(default)s)",
    )  # fmt: skip
    add(
        "--context",
        type=positive,
        metavar="T",
        help="longest input of a text, in tokens (default: the model's)",
    )
    add(
        "--stride",
        type=positive,
        metavar="T",
        help="new tokens a window of `lm` (default: the whole context)",
    )
    add(
        "--limit",
        type=_limit,
        metavar="E",
        help="only the first examples of each task: so many, or below 1 so large a share of them",
    )
    add(
        "--trust-remote-code", action="store_true",
        help="run Python code that the model's folder brings (auto_map); without it such code never runs",
    )  # fmt: skip
    add(
        "--judge",
        metavar="FILE.py:FUNCTION",
        help="judge of `generate`: judge(text, row) -> {metric: value}",
    )
    add(
        "--chat", action="store_true",
        help="ask what `choice`, `exact_match` and `generate` ask through the model's chat template",
    )  # fmt: skip
    add(
        "--max-new-tokens",
        type=positive,
        metavar="T",
        help="most tokens that the model writes for `generate` and `exact_match` (default: 32)",
    )
    add(
        "--class-text",
        metavar="TEXT",
        help="what stands around a class's name {} where images are matched with texts, for `classify` "
        "(default: This is a photo of {}.)",
    )
    add("--stop", nargs="+", metavar="TEXT", help="what ends what it writes (default: the end of the line)")
    add(
        "--lm-eval-tasks",
        type=Path,
        metavar="FOLDER",
        help="task files of your own for `lm_eval` (YAML)",
    )
    _add_harness(parser)


def _add_harness(parser: argparse.ArgumentParser) -> None:
    # By the names that the harness's own command has, with hyphens too.
    group = parser.add_argument_group("tasks of `lm_eval`, as the harness's own command has them")

    def add(name: str, **how: Any) -> None:
        group.add_argument(f"--{name.replace('_', '-')}", f"--{name}", dest=name, **how)

    add("num_fewshot", type=natural, metavar="N", help="examples before each question (default: the task's)")
    add(
        "apply_chat_template", nargs="?", const=True, metavar="NAME",
        help="ask through the tokenizer's chat template, or the one of that name",
    )  # fmt: skip
    add("system_instruction", metavar="TEXT", help="what the system says before everything else")
    add(
        "fewshot_as_multiturn", nargs="?", const="true", choices=["true", "false"],
        help="whether the examples are turns of the conversation (default: with a chat template)",
    )  # fmt: skip
    add("gen_kwargs", metavar="KEY=VALUE,…", help="settings of generation in place of the task's")
    add("batch_size", type=positive, metavar="N", help="rows a batch (default: 8)")


def execute(args: argparse.Namespace) -> int:
    """Score the candidates that are not scored yet, and write the table."""
    from m2m.cli.output import print_json
    from m2m.cli.words import named_paths
    from m2m.support.shown_progress import progress
    from m2m.verbs.score import race, score

    experts, racing = named_paths(args.experts), _racing(args)
    common: dict[str, Any] = {
        "out": args.out, "normalize": args.normalize, "scale": args.scale,
        "tasks": args.task or (), "setup": args.setup, "targets": args.target or (),
        "split": args.split, "examples": args.examples, "model": args.model,
        "context": args.context, "options": options_of_tasks(args),
        "memory": args.memory, "threads": args.threads, "device": args.device,
        "progress": progress(quiet=args.quiet), "strict": args.strict,
    }  # fmt: skip
    show = not (args.json or args.quiet)
    report: ScoreReport | RaceReport
    if racing is None:
        report = score(
            args.base, experts, args.candidates, **common, mode=args.mode, passes=args.passes,
            executor=args.executor, workers=args.workers,
        )  # fmt: skip
        if show:
            _print(report)
    else:
        report = race(args.base, experts, args.candidates, **common, **racing)
        if show:
            _print_race(report)
    if args.json:
        print_json(asdict(report))
    return 0


def _racing(args: argparse.Namespace) -> dict[str, Any] | None:
    # What the options say about a race, without what they leave to its defaults; None if there is none.
    said = {name: getattr(args, name) for name in ("budget", "metric", "confidence", "seed")}
    said = {name: value for name, value in said.items() if value is not None}
    if not args.race:
        if said:
            raise ConfigError(f"--{next(iter(said))} goes with --race")
        return None
    if args.mode not in ("auto", "resident") or args.passes != 1:
        raise ConfigError(
            "a race merges candidates again and again, so it needs whole models: --race goes with "
            "--mode resident, and without --passes"
        )
    if args.executor != "local" or args.workers is not None:
        raise ConfigError("--race goes without --executor and --workers: a race merges in one process")
    return said


def options_of_tasks(args: argparse.Namespace) -> TaskOptions:
    """Read what else the options of `add_tasks` say about tasks."""
    from m2m.scoring.tasks import TaskOptions

    turns = args.fewshot_as_multiturn
    given = {
        "judge": args.judge,
        "max_new_tokens": args.max_new_tokens,
        "class_text": args.class_text,
        "num_fewshot": args.num_fewshot,
        "apply_chat_template": args.apply_chat_template,
        "system_instruction": args.system_instruction,
        "fewshot_as_multiturn": None if turns is None else turns == "true",
        "gen_kwargs": args.gen_kwargs,
        "batch_size": args.batch_size,
        "stop": None if args.stop is None else tuple(args.stop),
    }
    return TaskOptions(
        stride=args.stride, limit=args.limit, chat=args.chat, lm_eval_tasks=args.lm_eval_tasks,
        trust_remote_code=args.trust_remote_code,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip


def _print(report: ScoreReport) -> None:
    print(f"{report.scores}: {report.candidates} candidates, {report.scored_now} of them scored now")
    if report.scored_now:
        print(f"{report.mode}: {report.why}")
    if report.bytes_read is not None and report.bytes_spilled is not None:
        read, spilled = format_bytes(report.bytes_read), format_bytes(report.bytes_spilled)
        print(f"read {read} of experts in {report.passes} passes, {report.blocks} blocks; spilled {spilled}")
    print(f"next: m2m select {report.scores}")


def _print_race(report: RaceReport) -> None:
    direction = "highest" if report.higher_is_better else "lowest"
    print(
        f"{report.winner} has the {direction} {report.metric} on {report.task}: P = {report.probability:.3f}"
    )
    others = report.contenders[1:]
    if others:
        print(f"not told apart from it at {report.confidence:g}: {', '.join(others)}")
    share = report.evaluations / (report.evaluations + report.saved)
    print(
        f"{report.evaluations} example evaluations, {share:.0%} of scoring everything; {report.merges} "
        f"merges; {report.finished} of {report.candidates} candidates were scored on all {report.examples}"
    )
    print(f"all candidates: {report.runners}")
