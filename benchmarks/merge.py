"""Merging checkpoints: m2m beside mergekit, beside naive torch, and against the floor of moving the bytes.

    python benchmarks/merge.py --work DIR [--mergekit ENV/bin/mergekit-yaml] [--methods linear,ties]
    python benchmarks/merge.py --work DIR --layers 3 --mergekit ENV/bin/mergekit-yaml --methods all
    python benchmarks/merge.py --work DIR --layers 1 --candidates 16

All sides get the same files and the same YAML, warm in the page cache, each as a whole command with its
start-up, in turn. The floor reads every input of the method once and writes one output (or one a candidate),
with plain read() and write() of 8 MiB. Without `--mergekit` that side is left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import yaml
from measure import Cost, interleaved, median, run, warm

#: Parameters as in mergekit's own examples; `definition` makes m2m follow mergekit where the two differ.
METHODS: dict[str, dict[str, object]] = {
    "linear": {},
    "task_arithmetic": {},
    "ties": {"density": 0.5},
    "dare_linear": {"density": 0.5},
    "dare_ties": {"density": 0.5},
    "breadcrumbs": {"density": 0.5, "gamma": 0.01},
    "della": {"density": 0.5, "epsilon": 0.1},
    "sce": {"select_topk": 0.5},
    "model_stock": {},
}
SHARED = {"select_topk"}
WITHOUT_WEIGHT = {"sce", "model_stock"}
WITHOUT_BASE = {"linear"}

#: mergekit's fastest setting without a GPU.
MERGEKIT_FLAGS = [
    "--lazy-unpickle",
    "--no-copy-tokenizer",
    "--no-write-model-card",
    "--quiet",
    "--random-seed=0",
    "--out-shard-size=500M",
]

FLOOR = """
import os, sys
out, outputs, *inputs = sys.argv[1:]
buffer = bytearray(8 << 20)
os.mkdir(out)
targets = [open(os.path.join(out, str(m)), "wb", buffering=0) for m in range(int(outputs))]
for number, path in enumerate(inputs):
    with open(path, "rb", buffering=0) as source:
        while size := source.readinto(buffer):
            for target in targets if number == 0 else ():
                target.write(memoryview(buffer)[:size])
"""

NAIVE = """
import sys
from safetensors.torch import load_file, save_file
import torch
out, *inputs = sys.argv[1:]
models = [load_file(path) for path in inputs]
weights = [0.4, 0.3, 0.2, 0.1]
merged = {name: sum(w * m[name].float() for w, m in zip(weights, models)).bfloat16() for name in models[0]}
save_file(merged, out)
"""


def recipe(method: str, models: Sequence[Path]) -> dict[str, object]:
    """Write the recipe that both sides read.

    Args:
        method: Name of the merge method.
        models: The base model and the experts.

    Returns:
        The content of the YAML file.
    """
    base, *experts = map(str, models)
    parameters = METHODS[method]
    each = {name: value for name, value in parameters.items() if name not in SHARED}
    entries: list[dict[str, object]] = []
    for expert, weight in zip(experts, (0.4, 0.3, 0.2, 0.1), strict=True):
        own = each if method in WITHOUT_WEIGHT else {"weight": weight, **each}
        entries.append({"model": expert, **({"parameters": own} if own else {})})
    shared = {name: value for name, value in parameters.items() if name in SHARED}
    content: dict[str, object] = {"merge_method": method, "models": entries, "dtype": "bfloat16"}
    if method not in WITHOUT_BASE:
        content["base_model"] = base
    return content | ({"parameters": shared} if shared else {})


def fresh(command: Callable[[Path], list[str]], out: Path) -> Cost:
    """Run a command that makes `out`, and remove what it made.

    Args:
        command: Builds the command line for an output path.
        out: What it makes: a file or a folder.

    Returns:
        Its cost.
    """
    cost = run(command(out))
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    return cost


def cases(
    method: str, models: Sequence[Path], work: Path, mergekit: str | None, memory: str, candidates: int
) -> dict[str, Callable[[], Cost]]:
    """List what is compared for one method.

    Args:
        method: Name of the merge method.
        models: The base model and the experts.
        work: Folder for recipes and outputs.
        mergekit: The `mergekit-yaml` program, or None.
        memory: m2m's memory budget.
        candidates: How many candidates m2m writes in one pass, and the floor; 0 for the recipe's own weights.

    Returns:
        What to run, by name.
    """
    used = models[1:] if method in WITHOUT_BASE else models
    files = [str(path) for model in used for path in sorted(model.glob("*.safetensors"))]
    written = work / f"{method}.yml"
    written.write_text(yaml.safe_dump(recipe(method, models)))
    me = [sys.executable, "-m", "m2m.cli", "merge", str(written)]
    table = [f"--candidates={_table(models, candidates, work)}"] if candidates else []
    found: dict[str, Callable[[Path], list[str]]] = {
        "floor": lambda out: [sys.executable, "-S", "-c", FLOOR, str(out), str(candidates or 1), *files],
        "m2m": lambda out: [*me, str(out), "--memory", memory, "-q", *table],
    }
    if method == "linear" and not candidates:
        found["naive"] = lambda out: [sys.executable, "-c", NAIVE, str(out), *files]
    if mergekit and not candidates:
        found["mergekit"] = lambda out: [mergekit, str(written), str(out), *MERGEKIT_FLAGS]
    return {name: partial(fresh, command, work / f"out-{name}") for name, command in found.items()}


def _table(models: Sequence[Path], count: int, work: Path) -> Path:
    # Candidates that walk from all other experts to the first one.
    names = [path.name for path in models[1:]]
    rows = [",".join(names)]
    for first in ((m + 1) / (count + 1) for m in range(count)):
        rows.append(",".join(map(str, [first, *[(1 - first) / (len(names) - 1)] * (len(names) - 1)])))
    path = work / "candidates.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def _models(folder: Path, layers: int) -> list[Path]:
    # in another process: a child's peak memory starts from its parent's, so this one must not load torch
    run([sys.executable, str(Path(__file__).with_name("models.py")), str(folder), "4", str(layers)])
    return [folder / name for name in ("base", "e1", "e2", "e3", "e4")]


def main() -> None:
    """Measure the methods asked for and print a table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the models; on the disk to be measured"
    )
    parser.add_argument("--layers", type=int, default=8, help="layers of width 2048 a model; 8 make 1.03 GB")
    parser.add_argument(
        "--methods", default="linear,task_arithmetic", help=f"all, or any of {','.join(METHODS)}"
    )
    parser.add_argument("--mergekit", help="mergekit-yaml of another environment")
    parser.add_argument("--memory", default="256MiB", help="m2m's budget")
    parser.add_argument("--candidates", type=int, default=0, help="candidates to write in one pass")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    models = _models(args.work / f"llama-{args.layers}", args.layers)
    results = {}
    for method in METHODS if args.methods == "all" else args.methods.split(","):
        warm([path for model in models for path in model.glob("*.safetensors")])
        sides = cases(method, models, args.work, args.mergekit, args.memory, args.candidates)
        results[method] = {name: median(costs) for name, costs in interleaved(sides, args.rounds).items()}
    if args.json:
        print(
            json.dumps(
                {m: {name: vars(cost) for name, cost in sides.items()} for m, sides in results.items()}
            )
        )
        return
    print("| method | side | wall s | wall / floor | wall / m2m | CPU s | peak RSS MiB |")
    print("|---|---|---|---|---|---|---|")
    for method, sides in results.items():
        for name, cost in sides.items():
            ratios = [cost.wall_s / sides[side].wall_s for side in ("floor", "m2m")]
            rss = cost.peak_rss_bytes / 2**20
            row = [method, name, f"{cost.wall_s:.2f}", *(f"{ratio:.2f}" for ratio in ratios)]
            print(f"| {' | '.join(row)} | {cost.cpu_s:.2f} | {rss:.0f} |")


if __name__ == "__main__":
    main()
