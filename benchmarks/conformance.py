"""The same YAML through mergekit and m2m: how far apart are the merged models, method by method?

    python benchmarks/conformance.py --work DIR --mergekit ENV/bin/python [--recipes 'linear;ties'] [--json]

Both get the same small Llama-shaped checkpoints and the same recipe (mergekit passes over the key
`m2m: {definition: mergekit}`), through what `m2m merge` and `mergekit-yaml` run. A difference is counted in
ulps of the output type, at the largest magnitude among the element's inputs and outputs. Methods that draw
are compared where nothing is left to the draw (density 1), and by the share of elements that they move.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import yaml
from models import make
from torch import Tensor

import m2m
from m2m.checkpoint import Checkpoint

Parameters = Mapping[str, object]


#: What mergekit-yaml does, for several recipes in one process.
MERGEKIT = """
import pathlib, sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=0)
for folder in map(pathlib.Path, sys.argv[1:]):
    recipe = yaml.safe_load((folder / "recipe.yml").read_text())
    run_merge(MergeConfiguration.model_validate(recipe), str(folder / "mergekit"), options)
"""


@dataclass(frozen=True)
class Case:
    """One recipe that both tools read.

    Attributes:
        method: Name of the merge method.
        experts: How many of the experts take part.
        shared: Parameters of the whole merge.
        each: Parameters of each expert.
        weighted: Whether each expert has a weight.
        base: `named` as base_model, also `listed` among the models, or `none`.
    """

    method: str
    experts: int = 3
    shared: Parameters = field(default_factory=dict)
    each: Parameters = field(default_factory=dict)
    weighted: bool = True
    base: str = "named"


CASES: dict[str, Case] = {
    "linear": Case("linear", base="none"),
    "linear, normalize: false": Case("linear", shared={"normalize": False}, base="none"),
    "task_arithmetic": Case("task_arithmetic", shared={"lambda": 0.7}),
    "slerp": Case("slerp", 1, {"t": 0.3}, weighted=False, base="listed"),
    "nuslerp": Case("nuslerp", 2, base="none"),
    "nuslerp, base": Case("nuslerp", 2),
    "nuslerp, rows": Case("nuslerp", 2, {"nuslerp_flatten": False, "nuslerp_row_wise": True}),
    "multislerp": Case("multislerp", base="none"),
    "multislerp, base": Case("multislerp"),
    "karcher": Case("karcher", weighted=False, base="none"),
    "model_stock": Case("model_stock", weighted=False, base="listed"),
    "model_stock, rows": Case("model_stock", shared={"filter_wise": True}, weighted=False, base="listed"),
    "ties": Case("ties", each={"density": 0.5}),
    "ties, rescale": Case("ties", shared={"rescale": True}, each={"density": 0.3}),
    "breadcrumbs": Case("breadcrumbs", each={"density": 0.6, "gamma": 0.05}),
    "breadcrumbs_ties": Case("breadcrumbs_ties", each={"density": 0.6, "gamma": 0.05}),
    "sce": Case("sce", shared={"select_topk": 0.4}, weighted=False),
    "ram": Case("ram", shared={"epsilon": 0.001}, weighted=False),
    "ramplus_tl": Case("ramplus_tl", shared={"epsilon": 0.002, "alpha": 2.0}, weighted=False),
    "nearswap": Case("nearswap", 1, {"t": 0.001}, weighted=False, base="listed"),
    "arcee_fusion": Case("arcee_fusion", 1, weighted=False, base="listed"),
    "passthrough": Case("passthrough", 1, {"scale": 0.9}, weighted=False, base="none"),
    "dare_linear, density 1": Case("dare_linear"),
    "dare_ties, density 1": Case("dare_ties"),
    "dare_linear, one expert": Case("dare_linear", 1, each={"density": 0.4}),
    "della_linear, one expert": Case("della_linear", 1, each={"density": 0.4, "epsilon": 0.1}),
}

#: Type of the inputs, in which mergekit works, and type of the output.
TYPES = (("float32", "float32"), ("float32", "bfloat16"), ("bfloat16", "bfloat16"))
HEADS = tuple(inputs if inputs == out else f"{inputs} → {out}" for inputs, out in TYPES)
#: Bits of the significand, the leading one counted.
PRECISION = {torch.float32: 24, torch.bfloat16: 8}
WEIGHTS = (0.5, 0.3, 0.4)


@dataclass
class Difference:
    """What two merged models have in common.

    Attributes:
        elements: How many were compared.
        equal: How many have the same bits.
        beyond: How many differ by more than one ulp.
        largest: Largest difference, in ulps.
        moved: Elements away from the base model, in m2m's output and in mergekit's.
    """

    elements: int = 0
    equal: int = 0
    beyond: int = 0
    largest: float = 0.0
    moved: tuple[int, int] = (0, 0)

    def add(self, ours: Tensor, theirs: Tensor, inputs: Sequence[Tensor]) -> None:
        """Count one tensor in.

        Args:
            ours: m2m's result. [*S]
            theirs: mergekit's. [*S]
            inputs: The base model's tensor and the experts'. [N + 1] of [*S]
        """
        largest = torch.stack([tensor.double().abs() for tensor in (ours, theirs, *inputs)]).amax(0)
        exponents = torch.frexp(largest).exponent.double()
        apart = (ours.double() - theirs.double()).abs() / torch.exp2(exponents - PRECISION[ours.dtype])
        self.elements += ours.numel()
        self.equal += int((ours == theirs).sum())
        self.beyond += int((apart > 1).sum())
        self.largest = max(self.largest, float(apart.max()))
        base = inputs[0].to(ours.dtype)
        self.moved = (self.moved[0] + int((ours != base).sum()), self.moved[1] + int((theirs != base).sum()))


def recipe(case: Case, models: Sequence[Path], working: str, out: str) -> dict[str, object]:
    """Write the recipe that both sides read.

    Args:
        case: What to merge.
        models: The base model and the experts.
        working: Type that mergekit works in.
        out: Type of the output.

    Returns:
        The content of the YAML file.
    """
    base, *experts = map(str, models)
    entries: list[dict[str, object]] = [{"model": base}] if case.base == "listed" else []
    for expert, weight in zip(experts[: case.experts], WEIGHTS, strict=False):
        own = {"weight": weight, **case.each} if case.weighted else dict(case.each)
        entries.append({"model": expert, **({"parameters": own} if own else {})})
    content: dict[str, object] = {
        "merge_method": case.method,
        "models": entries,
        "dtype": working,
        "out_dtype": out,
        "m2m": {"definition": "mergekit"},
    }
    if case.base != "none":
        content["base_model"] = base
    return content | ({"parameters": dict(case.shared)} if case.shared else {})


def compare(case: Case, models: Sequence[Path], work: Path) -> Difference:
    """Compare what the two tools merged.

    Args:
        case: What was merged.
        models: The base model and the experts.
        work: Folder that has m2m's output and mergekit's.

    Returns:
        The difference over all tensors.
    """
    ours, theirs = Checkpoint(work / "m2m"), Checkpoint(work / "mergekit")
    if set(ours.names) != set(theirs.names):
        sys.exit(f"{case}: tensors of one side only: {set(ours.names) ^ set(theirs.names)}")
    inputs = [Checkpoint(path) for path in models[: case.experts + 1]]
    difference = Difference()
    for name in ours.names:
        difference.add(ours.read(name), theirs.read(name), [model.read(name) for model in inputs])
    return difference


def run_mergekit(python: str, folders: Sequence[Path]) -> None:
    """Have mergekit merge `recipe.yml` of each folder into its `mergekit`.

    Args:
        python: Interpreter of an environment that has mergekit.
        folders: One folder a merge.
    """
    done = subprocess.run(
        [python, "-c", MERGEKIT, *map(str, folders)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"mergekit failed:\n{done.stderr[-3000:]}")


def models(folder: Path, dtype: str) -> list[Path]:
    """Make the small checkpoints that are merged, unless they are there.

    Args:
        folder: Where their folders go.
        dtype: Their type.

    Returns:
        The base model and three experts. [4]
    """
    return make(folder / dtype, 3, layers=2, hidden=256, vocabulary=1000, dtype=getattr(torch, dtype))


def table(names: Sequence[str], work: Path, python: str) -> dict[str, list[Difference]]:
    """Merge each recipe with both tools, for each pair of an input type and an output type.

    Args:
        names: Recipes, of `CASES`.
        work: Folder for models and outputs; must be new.
        python: Interpreter of an environment that has mergekit.

    Returns:
        The differences by recipe, in the order of `TYPES`.
    """
    work.mkdir(parents=True)
    found: dict[str, list[Difference]] = {name: [] for name in names}
    for number, (working, out) in enumerate(TYPES):
        inputs = models(work, working)
        folders = {name: work / f"{number}-{name.replace(' ', '-')}" for name in names}
        for name, folder in folders.items():
            folder.mkdir()
            content = recipe(CASES[name], inputs, working, out)
            (folder / "recipe.yml").write_text(yaml.safe_dump(content))
            m2m.merge(folder / "recipe.yml", folder / "m2m")
        run_mergekit(python, list(folders.values()))
        for name, folder in folders.items():
            found[name].append(compare(CASES[name], inputs, folder))
    return found


def main() -> None:
    """Compare the recipes asked for and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for models and outputs; must be new")
    parser.add_argument("--mergekit", required=True, help="python of an environment that has mergekit")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--recipes", help=f"any of {', '.join(CASES)}, separated by `;`")
    args = parser.parse_args()
    names = args.recipes.split(";") if args.recipes else list(CASES)
    found = table(names, args.work, args.mergekit)
    if args.json:
        print(
            json.dumps({name: dict(zip(HEADS, map(asdict, row), strict=True)) for name, row in found.items()})
        )
        return
    columns = ("equal", "beyond 1 ulp", "largest, ulps")
    print("| recipe |" + "".join(f" {head}: {' | '.join(columns)} |" for head in HEADS) + " moved |")
    print("| --- |" + " --- |" * (len(columns) * len(HEADS) + 1))
    for name, row in found.items():
        cells = "".join(
            f" {_share(d.equal, d.elements)} | {_share(d.beyond, d.elements)} | {d.largest:.2g} |"
            for d in row
        )
        moved = " / ".join(_share(count, row[0].elements) for count in row[0].moved)
        print(f"| {name} |{cells} {moved} |")


def _share(part: int, whole: int) -> str:
    return "0" if part == 0 else "all" if part == whole else f"{math.floor(1e4 * part / whole) / 100:.2f} %"


if __name__ == "__main__":
    main()
