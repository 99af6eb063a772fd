"""What streamed scoring reads, holds and takes, against scoring in memory and against a merge to disk each.

python benchmarks/evaluate_streamed.py FOLDER [--candidates 1 4 16] [--memory 80MiB] [--tokens 1024]

FOLDER gets a Llama of 30 M parameters in float32 and N = 4 experts (0.6 GB). Every case is a process of its
own that has imported everything and has scored a small model before the count starts: what it adds is the
peak of its resident set minus what it held. Files are in the page cache, but for one more streamed run that
starts without the experts in it: what Linux says that this one read from the disk (`read_bytes`), over the
experts' size, is `passes from disk`.

- streamed: `m2m.scoring.StreamedWalk` within the budget.
- resident: experts mapped, merged into one live module (`m2m.scoring.live.resident.walk`).
- disk: for each candidate `m2m.merge` into a folder, load, score, delete; without starting a process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import make

import m2m
from m2m import Checkpoint
from m2m.checkpoint.heads import Head
from m2m.scoring import LiveModel, StreamedWalk
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.live.mapped import mapped_state
from m2m.scoring.live.resident import walk
from m2m.scoring.tasks import TextLossScorer
from m2m.scoring.tasks.scorer import Scores
from m2m.support.arrays import Floats
from m2m.support.units import format_bytes, parse_bytes

EXPERTS = 4
CONTEXT = 128
#: Tokens a batch: the logits of more would not fit in the budgets that are tried.
BATCH_TOKENS = 256
MODES = ("streamed", "resident", "disk")


class Bytes:
    """Bytes as tokens of a Hugging Face model."""

    input_name, learnt_name, start, pad, context = "input_ids", "", (), 0, CONTEXT
    head = Head.CAUSAL

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Take the bytes."""
        return list(text.encode())


def text_task(tokens: int) -> TextLossScorer:
    """Make the task: Python's own source, cut to the number of tokens."""
    text = Path(argparse.__file__).read_text(encoding="utf-8")
    return TextLossScorer("text", [text[: tokens + 1]], Bytes(), batch_tokens=BATCH_TOKENS)


def streamed(models: Sequence[Path], rows: Floats, tokens: int, memory: int) -> dict[str, int]:
    """Score within the budget; returns the walk's own counts."""
    base, *experts = [Checkpoint(path) for path in models]
    build = HuggingFaceFolder(models[0], CONTEXT).build_empty
    done = StreamedWalk(
        build, base, experts, rows, [text_task(tokens)], memory=memory, spill=models[0].parent
    )
    _print_scores(scores for _, [scores] in done)
    return vars(done.counts)


def resident(models: Sequence[Path], rows: Floats, tokens: int, memory: int) -> dict[str, int]:
    """Score in memory; the budget is not looked at."""
    base, *experts = [mapped_state(Checkpoint(path)) for path in models]
    live = LiveModel(HuggingFaceFolder(models[0], CONTEXT).build(), base, experts)
    _print_scores(scores for _, [scores] in walk(live, rows, [text_task(tokens)]))
    return {}


def disk(models: Sequence[Path], rows: Floats, tokens: int, memory: int) -> dict[str, int]:
    """Merge to disk, load, score, delete."""
    task = text_task(tokens)
    with tempfile.TemporaryDirectory(dir=models[0].parent) as scratch:
        _print_scores(_by_disk(models, row, task, Path(scratch)) for row in rows)
    return {}


def _by_disk(models: Sequence[Path], row: Floats, task: TextLossScorer, scratch: Path) -> Scores:
    parts = [
        {"model": str(path), "parameters": {"weight": float(weight)}}
        for path, weight in zip(models[1:], row, strict=True)
    ]
    recipe = {"merge_method": "linear", "parameters": {"normalize": False}, "models": parts}
    (scratch / "recipe.yml").write_text(json.dumps(recipe | {"base_model": str(models[0])}), encoding="utf-8")
    m2m.merge(scratch / "recipe.yml", scratch / "merged")
    scores = task(HuggingFaceFolder(scratch / "merged", CONTEXT).build())
    shutil.rmtree(scratch / "merged")
    return scores


def _print_scores(walked: Any) -> None:
    print(" ".join(scores.mean("loss").hex() for scores in walked))


def one(mode: str, folder: Path, candidates: int, tokens: int, memory: int, cold: bool) -> dict[str, Any]:
    """Measure one case in this process.

    Args:
        mode: One of `MODES`.
        folder: The models.
        candidates: M.
        tokens: Tokens that a candidate is scored on.
        memory: The budget, in bytes.
        cold: Whether the experts' files leave the page cache first.

    Returns:
        Bytes and seconds.
    """
    run: Callable[..., dict[str, int]] = globals()[mode]
    rows = np.random.default_rng(0).dirichlet(np.ones(EXPERTS), size=candidates)
    run(make(folder / "small", EXPERTS, 1, 64, 256, torch.float32), rows[:2], CONTEXT, memory)
    models = make(folder / "large", EXPERTS, 8, 512, 4096, torch.float32)
    gc.collect()
    for path in models if cold else ():
        _drop_from_cache(path / "model.safetensors")
    before, read, start = _status("VmRSS"), _read_so_far(), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    counts = run(models, rows, tokens, memory)
    wall = time.perf_counter() - start
    size = sum(tensor.nbytes for path in models[1:] for tensor in Checkpoint(path).tensors.values())
    added = _status("VmHWM") - before
    return {"mode": mode, "candidates": candidates, "experts": size, "from_disk": _read_so_far() - read} | {
        "wall_s": wall, "added": added, **counts,
    }  # fmt: skip


def _status(key: str) -> int:
    [kib] = re.findall(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    return int(kib) * 1024


def _drop_from_cache(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def _read_so_far() -> int:
    [count] = re.findall(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), flags=re.MULTILINE)
    return int(count)


def _row(found: dict[str, Any], memory: int, plain: float) -> str:
    cells = [found["candidates"], found["mode"], *["–"] * 4]
    if "bytes_read" in found:
        counted, outside = found["bytes_read"] / found["experts"], found["from_disk"] / found["experts"]
        cells[2:] = f"{counted:.3f}", f"{outside:.3f}", found["blocks"], format_bytes(found["bytes_spilled"])
    cells += [f"{found['added'] / 2**20:.0f} MiB of {memory >> 20}", f"{found['wall_s']:.1f} s"]
    return "| " + " | ".join(map(str, [*cells, f"{found['wall_s'] / plain:.2f}"])) + " |"


def _case(args: argparse.Namespace, mode: str, candidates: int, *more: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(args.folder), "--one", "--modes", mode, *more]
    command += ["--candidates", str(candidates), "--memory", str(args.memory), "--tokens", str(args.tokens)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, Any] = json.loads(lines[-1])
    return found | {"scores": lines[-2]}


def main() -> None:
    """Measure every case in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--memory", type=parse_bytes, default="80MiB")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--one", action="store_true", help="measure in this process, print a line of JSON")
    parser.add_argument("--cold", action="store_true", help="with --one: without the files in the page cache")
    args = parser.parse_args()
    if args.one:
        [mode], [candidates] = args.modes, args.candidates
        print(json.dumps(one(mode, args.folder, candidates, args.tokens, args.memory, args.cold)))
        return
    print("| M | mode | passes counted | from disk | blocks | spilled | RSS added | wall | of resident |")
    print("| --- " * 9 + "|")
    for candidates in args.candidates:
        disk = _case(args, "streamed", candidates, "--cold")["from_disk"]
        found = {mode: _case(args, mode, candidates) | {"from_disk": disk} for mode in args.modes}
        assert len({case["scores"] for case in found.values()}) == 1, "the modes differ in their scores"
        plain = found["resident"]["wall_s"] if "resident" in found else float("nan")
        print(*(_row(case, args.memory, plain) for case in found.values()), sep="\n", flush=True)


if __name__ == "__main__":
    main()
