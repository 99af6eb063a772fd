"""What scoring candidates costs beyond their forward passes, and against the loop that users write today.

python benchmarks/evaluate.py resident [--candidates 15] [--tokens 2048]
python benchmarks/evaluate.py score MODELS [--tokens 1000]
python benchmarks/evaluate.py loop MODELS --mergekit ENV/bin/mergekit-yaml [--candidates 3] [--tokens 1000]

`resident`: a byte-level transformer of 25.5 M parameters in float32, N = 4 experts. A walk over M candidates
against M plain forward passes of a model that is loaded already, on the same data, in one process, in turn.

`score` and `loop`: the 15 subsets of N = 4 on SmolLM2-135M in float32 (MODELS is the folder of
benchmarks/smollm2.py). `m2m score` as one command, its start and its reading included, against: mergekit-yaml
into a folder, `from_pretrained`, evaluate, for some of the subsets. Both evaluate with the same code on the
same tokens. Other tokens a candidate change only the evaluation, whose seconds `loop` gives.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m2m.evaluate import LiveModel
from m2m.evaluate.huggingface import HuggingFaceFolder
from m2m.evaluate.resident import walk
from m2m.evaluate.tasks import ByteTokens, TextLossScorer
from m2m.mixture import Mixture, all_subsets
from m2m.setups.byte_gpt import ByteGPT, Shape

EXPERTS = 4
CONTEXT = 128
#: Candidates of a turn.
TURN = 8


def resident(candidates: int, tokens: int) -> dict[str, float]:
    """Time a walk over candidates and as many plain forward passes.

    Args:
        candidates: M.
        tokens: Tokens that a candidate is scored on.

    Returns:
        Seconds of both, and their ratio.
    """
    model = ByteGPT(Shape(layers=8, width=512, heads=8, context=CONTEXT))
    model.initialise(0)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    experts = [{name: t + 0.01 * torch.randn_like(t) for name, t in base.items()} for _ in range(EXPERTS)]
    scorer = TextLossScorer("text", ["x" * (tokens + 1)], ByteTokens(model, CONTEXT))
    rows = np.random.default_rng(0).dirichlet(np.ones(EXPERTS), size=candidates)
    live = LiveModel(model, base, experts)
    live.merge_ahead(rows[:TURN])  # the memory is there, the pages are touched
    scorer(model)
    walked = plain = 0.0
    for first in range(0, candidates, TURN):
        turn = rows[first : first + TURN]
        walked += _seconds(lambda turn=turn: list(walk(live, turn, [scorer])))
        plain += _seconds(lambda turn=turn: [scorer(model) for _ in turn])
    return {"walk_s": walked, "plain_s": plain, "ratio": walked / plain}


def score(models: Path, tokens: int) -> dict[str, Any]:
    """Time `m2m score` on all 15 subsets, its start and its reading included.

    Args:
        models: Folder with `base` and `expert0` ...
        tokens: Tokens that a candidate is scored on.

    Returns:
        Seconds in all and a candidate.
    """
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        text = _text(models, tokens, Path(scratch))
        seconds = _seconds(lambda: _score(models, text, Path(scratch)))
    return {"score_s": seconds, "candidate_s": seconds / (2**EXPERTS - 1)}


def loop(models: Path, mergekit: Path, candidates: int, tokens: int) -> dict[str, Any]:
    """Time mergekit → from_pretrained → evaluate.

    Args:
        models: Folder with `base` and `expert0` ...
        mergekit: The program mergekit-yaml.
        candidates: How many of the 15 subsets go through the loop, evenly spread over their sizes.
        tokens: Tokens that a candidate is scored on.

    Returns:
        Mean seconds of each step and of all, a candidate.
    """
    subsets = all_subsets([f"expert{number}" for number in range(EXPERTS)])
    spread = subsets[len(subsets) // (2 * candidates) :: -(-len(subsets) // candidates)]
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        text = _text(models, tokens, Path(scratch))
        steps = [_by_hand(models, mergekit, subset, text, Path(scratch)) for subset in spread]
    mean = {f"{step}_s": float(np.mean([each[step] for each in steps])) for step in steps[0]}
    return {**mean, "candidate_s": sum(mean.values()), "measured": len(steps)}


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
        for name, weight in zip(subset.datasets, subset.weights, strict=True)
        if weight
    ]
    plan = {"merge_method": "linear", "models": parts, "dtype": "float32"}
    recipe.write_text(json.dumps(plan), encoding="utf-8")
    command = [str(mergekit), str(recipe), str(merged)]
    seconds = {"merge": _seconds(lambda: subprocess.run(command, check=True, capture_output=True))}
    folder, start = HuggingFaceFolder(models / "base"), time.perf_counter()
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(merged)
    seconds["load"] = time.perf_counter() - start
    scorer = TextLossScorer.read(text, folder, stride=None, limit=None)
    seconds["evaluate"] = _seconds(lambda: scorer(model))
    shutil.rmtree(merged)
    return seconds


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure what is asked for, and print a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["resident", "score", "loop"])
    parser.add_argument("models", type=Path, nargs="?")
    parser.add_argument("--mergekit", type=Path)
    parser.add_argument("--candidates", type=int)
    parser.add_argument("--tokens", type=int)
    args = parser.parse_args()
    if args.part == "resident":
        found: dict[str, Any] = resident(args.candidates or 15, args.tokens or 2048)
    elif args.models is None or (args.part == "loop" and args.mergekit is None):
        parser.error(f"{args.part} needs MODELS, and loop --mergekit")
    elif args.part == "score":
        found = score(args.models, args.tokens or 1000)
    else:
        found = loop(args.models, args.mergekit, args.candidates or 3, args.tokens or 1000)
    print(json.dumps({**vars(args), **found}, default=str))


if __name__ == "__main__":
    main()
