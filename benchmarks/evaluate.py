"""What scoring candidates costs beyond their forward passes, and against the loop that users write today.

python benchmarks/evaluate.py resident [--candidates 15] [--tokens 2048]
python benchmarks/evaluate.py compare MODELS --mergekit ENV/bin/mergekit-yaml [--tokens 1000] >> curve.jsonl
python benchmarks/evaluate.py figure curve.jsonl docs/img/score_vs_loop.png

`resident`: a byte-level transformer of 25.5 M parameters in float32, N = 4 experts. A walk over M candidates
against M plain forward passes of a model that is loaded already, on the same data, in one process, in turns
of eight candidates; CPU seconds of one thread, medians over turns.

`compare`: the 15 subsets of N = 4 on SmolLM2-135M in float32 (MODELS is the folder of benchmarks/smollm2.py).
`m2m score` as one command, its start and its reading included, against: mergekit-yaml into a folder,
`from_pretrained`, evaluate. The loop goes through two of the subsets, one before and one after `m2m score`,
and their mean stands for all. Both evaluate with the same code on the same tokens.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from m2m.mixture import Mixture, all_subsets
from m2m.scoring import LiveModel
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.live.resident import walk
from m2m.scoring.tasks import ByteTokens, TextLossScorer
from m2m.setups.byte_gpt import ByteGPT, Shape

EXPERTS = 4
CONTEXT = 128
#: Candidates of a turn.
TURN = 8


def resident(candidates: int, tokens: int) -> dict[str, float]:
    """Time a walk over candidates and as many plain forward passes, on one thread.

    Args:
        candidates: M.
        tokens: Tokens that a candidate is scored on.

    Returns:
        CPU seconds a candidate of both, and their ratio: medians over turns.
    """
    torch.set_num_threads(1)
    model = ByteGPT(Shape(layers=8, width=512, heads=8, context=CONTEXT))
    model.initialise(0)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    experts = [{name: t + 0.01 * torch.randn_like(t) for name, t in base.items()} for _ in range(EXPERTS)]
    scorer = TextLossScorer("text", ["x" * (tokens + 1)], ByteTokens(model, CONTEXT))
    rows = np.random.default_rng(0).dirichlet(np.ones(EXPERTS), size=candidates)
    live = LiveModel(model, base, experts)
    live.merge_ahead(rows[:TURN])  # the memory is there, the pages are touched
    scorer(model)
    walked, plain = [], []
    for first in range(0, candidates, TURN):
        turn = rows[first : first + TURN]
        plain.append(_cpu_seconds(lambda turn=turn: [scorer(model) for _ in turn]) / len(turn))
        walked.append(_cpu_seconds(lambda turn=turn: list(walk(live, turn, [scorer], 1))) / len(turn))
    ratios = [ours / theirs for ours, theirs in zip(walked, plain, strict=True)]
    return {"walk_s": median(walked), "plain_s": median(plain), "ratio": median(ratios)}


def compare(models: Path, mergekit: Path, tokens: int) -> dict[str, Any]:
    """Time mergekit → from_pretrained → evaluate and `m2m score` in turn.

    Args:
        models: Folder with `base` and `expert0` ...
        mergekit: The program mergekit-yaml.
        tokens: Tokens that a candidate is scored on.

    Returns:
        Seconds of `m2m score` on all 15 subsets; seconds of the loop's steps, and of both, a candidate; and
        how many times as long the loop takes.
    """
    subsets = all_subsets([f"expert{number}" for number in range(EXPERTS)])
    first, last = subsets[3], subsets[11]  # of one expert and of three: two on average, as all subsets
    with tempfile.TemporaryDirectory(dir=models) as name:
        scratch = Path(name)
        text = _text(models, tokens, scratch)
        _read_all(models)
        before = _by_hand(models, mergekit, first, text, scratch)
        whole = _seconds(lambda: _score(models, text, scratch))
        after = _by_hand(models, mergekit, last, text, scratch)
    steps = {f"{step}_s": (before[step] + after[step]) / 2 for step in before}
    ours, theirs = whole / len(subsets), sum(steps.values())
    return {"score_s": whole, "candidate_s": ours, **steps, "loop_s": theirs, "ratio": theirs / ours}


def figure(measured: Path, path: Path) -> dict[str, Any]:
    """Draw how the two ways compare over the tokens that a candidate is scored on.

    Args:
        measured: A line of `compare` each.
        path: The figure.

    Returns:
        Number of points.
    """
    from matplotlib.figure import Figure

    from paper_figs.style import BLUE, COLUMN, VERMILION, logarithmic, look

    runs = pd.read_json(measured, lines=True)
    mean = runs.groupby("tokens")[["loop_s", "candidate_s"]].mean()
    with look():
        drawing = Figure(figsize=(COLUMN, 0.75 * COLUMN), layout="constrained")
        axes = drawing.add_subplot()
        for column, mark, colour, label in (
            ("loop_s", "s", VERMILION, "mergekit, load, evaluate"),
            ("candidate_s", "o", BLUE, "m2m score"),
        ):
            axes.plot(mean.index, mean[column], "-", color=colour, label=label)
            axes.plot(runs["tokens"], runs[column], mark, color=colour, markersize=3)
        for tokens, row in mean.iterrows():
            middle = (row["loop_s"] * row["candidate_s"]) ** 0.5
            axes.annotate(
                f"{row['loop_s'] / row['candidate_s']:.1f}×", (tokens, middle), ha="center", fontsize=7
            )
        axes.set(xlabel="tokens a candidate", ylabel="seconds a candidate", ylim=(1, 60))
        logarithmic(axes, "x", "y")
        axes.set_xticks(mean.index, [str(tokens) for tokens in mean.index])
        axes.legend(loc="upper right", ncols=2)
        drawing.savefig(path, metadata={"Software": None})
    return {"points": len(runs)}


def _text(models: Path, tokens: int, scratch: Path) -> Path:
    # Python's own source, cut to the number of tokens.
    tokenizer = HuggingFaceFolder(models / "base").tokenizer
    source = Path(argparse.__file__).read_text(encoding="utf-8")
    path = scratch / "text.txt"
    path.write_text(
        tokenizer.decode(tokenizer(source, verbose=False)["input_ids"][:tokens]), encoding="utf-8"
    )
    return path


def _score(models: Path, text: Path, scratch: Path) -> None:
    experts = [str(models / f"expert{number}") for number in range(EXPERTS)]
    command = ["score", "--base", str(models / "base"), "--experts", *experts, "--task", f"lm:{text}"]
    command += ["--out", str(scratch / "scores.csv"), "--mode", "resident", "--quiet"]
    subprocess.run([sys.executable, "-m", "m2m.cli", *command], check=True)


def _by_hand(models: Path, mergekit: Path, subset: Mixture, text: Path, scratch: Path) -> dict[str, float]:
    merged, recipe = scratch / "merged", scratch / "recipe.yml"
    parts = [
        {"model": str(models / name), "parameters": {"weight": weight}}
        for name, weight in subset.shares.items()
        if weight
    ]
    plan = {"merge_method": "linear", "models": parts, "dtype": "float32"}
    recipe.write_text(json.dumps(plan), encoding="utf-8")
    command = [str(mergekit), str(recipe), str(merged)]
    seconds = {"merge": _seconds(lambda: subprocess.run(command, check=True, capture_output=True))}
    folder, start = HuggingFaceFolder(models / "base"), time.perf_counter()
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(merged, trust_remote_code=False)
    seconds["load"] = time.perf_counter() - start
    scorer = TextLossScorer.read(text, folder, stride=None, limit=None)
    seconds["evaluate"] = _seconds(lambda: scorer(model))
    shutil.rmtree(merged)
    return seconds


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _read_all(models: Path) -> None:
    # So that neither side reads from the disk what the other one has left in the system's cache.
    for file in itertools.chain(models.glob("base/*.safetensors"), models.glob("expert*/*.safetensors")):
        file.read_bytes()


def main() -> None:
    """Measure what is asked for, and print a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["resident", "compare", "figure"])
    parser.add_argument("paths", type=Path, nargs="*")
    parser.add_argument("--mergekit", type=Path)
    parser.add_argument("--candidates", type=int, default=15)
    parser.add_argument("--tokens", type=int)
    args = parser.parse_args()
    if args.part == "resident":
        tokens = args.tokens or 2048
        found: dict[str, Any] = {"candidates": args.candidates, **resident(args.candidates, tokens)}
    elif args.part == "figure":
        tokens, found = None, figure(*args.paths)
    elif len(args.paths) != 1 or args.mergekit is None:
        parser.error("compare needs MODELS and --mergekit")
    else:
        tokens = args.tokens or 1000
        found = compare(args.paths[0], args.mergekit, tokens)
    print(json.dumps({"part": args.part, "tokens": tokens, **found}))


if __name__ == "__main__":
    main()
