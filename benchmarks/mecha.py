"""Merging whole checkpoints: m2m beside sd-mecha, both of the same files, with the same weights, in turn.

    python -m venv ENV && ENV/bin/pip install sd-mecha
    python benchmarks/mecha.py --work DIR --mecha ENV/bin/python [--layers 1] [--rounds 3]

sd-mecha reads single files and has no sum of N models, so its documented way stands here: a merge method of
one's own. Threads are each program's own choice; sd-mecha's bfloat16 output is asked for, as its default is
float16, and its check of names is given the file's own. Whether results agree is told.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml
from measure import Cost, interleaved, median, run, warm

WEIGHTS = (0.4, 0.3, 0.2, 0.1)

MECHA = """
import sys
import torch, sd_mecha
from sd_mecha import Parameter, Return, merge_method

@merge_method
def weighted(*models: Parameter(torch.Tensor)) -> Return(torch.Tensor):
    total = models[0] * WEIGHTS[0]
    for model, weight in zip(models[1:], WEIGHTS[1:]):
        total = total + weight * model
    return total

out, *inputs = sys.argv[1:]
recipe = weighted(*[sd_mecha.model(path) for path in inputs])
sd_mecha.merge(recipe, output=out, merge_dtype=torch.float32, output_dtype=torch.bfloat16)
"""


def commands(models: list[Path], work: Path, mecha: str) -> dict[str, Callable[[Path], list[str]]]:
    """List both programs' command lines, by an output path."""
    files = [str(next(model.glob("*.safetensors"))) for model in models]
    entries = [
        {"model": str(model), "parameters": {"weight": weight}}
        for model, weight in zip(models, WEIGHTS, strict=True)
    ]
    recipe = work / "mecha.yml"
    recipe.write_text(yaml.safe_dump({"merge_method": "linear", "models": entries, "dtype": "bfloat16"}))
    program = MECHA.replace("WEIGHTS", str(WEIGHTS))
    return {
        "m2m": lambda out: [sys.executable, "-m", "m2m.cli", "merge", str(recipe), str(out), "-q"],
        "sd-mecha": lambda out: [mecha, "-c", program, str(out.with_suffix(".safetensors")), *files],
    }


def made(command: Callable[[Path], list[str]], out: Path) -> Cost:
    """Run a command anew, without what it made before."""
    shutil.rmtree(out, ignore_errors=True)
    out.with_suffix(".safetensors").unlink(missing_ok=True)
    return run(command(out))


def agreement(ours: Path, theirs: Path) -> tuple[float, float]:
    """Compare two merges.

    Args:
        ours: A checkpoint.
        theirs: Another one of the same tensors.

    Returns:
        The largest difference, over its tensor's root mean square; and the share of elements that are equal.
    """
    from m2m import Checkpoint

    left, right = Checkpoint(ours), Checkpoint(theirs.with_suffix(".safetensors"))
    most, equal, count = 0.0, 0, 0
    for name in left.tensors:
        mine, other = (checkpoint.read(name).float() for checkpoint in (left, right))
        most = max(most, float((mine - other).abs().max() / mine.square().mean().sqrt()))
        equal, count = equal + int((mine == other).sum()), count + mine.numel()
    return most, equal / count


def main() -> None:
    """Run both in turn and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the models")
    parser.add_argument("--mecha", required=True, help="Python of an environment that has sd-mecha")
    parser.add_argument("--layers", type=int, default=1, help="layers of width 2048 a model")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    folder = args.work / f"llama-{args.layers}"
    # In a process of its own: a child's peak memory starts from its parent's.
    run([sys.executable, str(Path(__file__).with_name("models.py")), str(folder), "4", str(args.layers)])
    models = [folder / f"e{number}" for number in range(1, 5)]
    warm([next(model.glob("*.safetensors")) for model in models])
    sides = commands(models, args.work, args.mecha)
    outs = {name: args.work / f"mecha-{name}" for name in sides}
    costs = interleaved({n: partial(made, command, outs[n]) for n, command in sides.items()}, args.rounds)
    print("| side | wall s | CPU s | peak RSS MiB |\n| --- | --- | --- | --- |")
    for name, cost in {name: median(each) for name, each in costs.items()}.items():
        print(f"| {name} | {cost.wall_s:.2f} | {cost.cpu_s:.2f} | {cost.peak_rss_bytes / 2**20:.0f} |")
    most, equal = agreement(outs["m2m"], outs["sd-mecha"])
    print(f"{100 * equal:.3f} % of the elements are equal; at most {most:.2g} root mean squares apart")


if __name__ == "__main__":
    main()
