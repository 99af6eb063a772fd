"""What scoring candidates costs beyond their forward passes, and against the loop that users write today.

python benchmarks/evaluate.py resident [--candidates 15] [--tokens 2048]
python benchmarks/evaluate.py loop MODELS --mergekit ENV/bin/mergekit-yaml [--candidates 15] [--tokens 1000]

`resident`: a byte-level transformer of 25.5 M parameters in float32, N = 4 experts. A walk over M candidates
against M plain forward passes of a model that is loaded already, on the same data, in one process, in turn.

`loop`: subsets of N = 4 on SmolLM2-135M in float32 (MODELS is the folder of benchmarks/smollm2.py).
`m2m score` as one command, its start and its reading included, against: mergekit-yaml into a folder,
`from_pretrained`, evaluate. Both evaluate with the same code on the same tokens. Ratios of one run on one
machine; other tokens a candidate change only the evaluation, whose seconds are given.
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


def loop(models: Path, mergekit: Path, candidates: int, tokens: int) -> dict[str, Any]:
    """Time `m2m score` and the loop around mergekit.

    Args:
        models: Folder with `base` and `expert0` ...
        mergekit: The program mergekit-yaml.
        candidates: How many of the 15 subsets go through the loop; its mean stands for all 15.
        tokens: Tokens that a candidate is scored on.

    Returns:
        Seconds of all, and of the loop's parts a candidate, and the ratio.
    """
    subsets = all_subsets([f"expert{number}" for number in range(EXPERTS)])
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        text = _text(models, tokens, Path(scratch))
        ours = _seconds(lambda: _score(models, text, Path(scratch)))
        spread = subsets[:: -(-len(subsets) // candidates)]
        parts = [_by_hand(models, mergekit, subset, text, Path(scratch)) for subset in spread]
    mean = {step: float(np.mean([part[step] for part in parts])) for step in parts[0]}
    theirs = len(subsets) * sum(mean.values())
    return {
        "m2m_s": ours,
        "loop_s": theirs,
        "loop_parts_s": mean,
        "measured": len(parts),
        "ratio": theirs / ours,
    }


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
    plan = {"merge_method": "linear", "models": parts, "dtype": "float32", "tokenizer_source": "base"}
    recipe.write_text(json.dumps({**plan, "base_model": str(models / "base")}), encoding="utf-8")
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
    parser.add_argument("part", choices=["resident", "loop"])
    parser.add_argument("models", type=Path, nargs="?")
    parser.add_argument("--mergekit", type=Path)
    parser.add_argument("--candidates", type=int, default=15)
    parser.add_argument("--tokens", type=int)
    args = parser.parse_args()
    if args.part == "resident":
        found: dict[str, Any] = resident(args.candidates, args.tokens or 2048)
    elif args.models is None or args.mergekit is None:
        parser.error("loop needs MODELS and --mergekit")
    else:
        found = loop(args.models, args.mergekit, args.candidates, args.tokens or 1000)
    print(json.dumps({"part": args.part, "candidates": args.candidates, "tokens": args.tokens, **found}))


if __name__ == "__main__":
    main()
