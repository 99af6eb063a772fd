"""How much m2m takes before it says no: one command a case, each prints its seconds and its peak memory.

    python benchmarks/load.py score        # 2^14 − 1 candidates of a small model, scored by m2m score
    python benchmarks/load.py select       # a table of 10^6 rows: m2m select
    python benchmarks/load.py search       # the same: m2m search of recorded scores
    python benchmarks/load.py fidelity     # the same: m2m-analysis fidelity
    python benchmarks/load.py report       # the same: m2m report
    python benchmarks/load.py ten          # ten datasets, all 1,023 subsets trained: run, fidelity, report
    python benchmarks/load.py thousand     # 1,000 datasets, every strategy, subsets and simplex
    python benchmarks/load.py predict      # m2m predict on 20,000 mixtures of 50 domains

Each command runs in a process of its own, on one thread (OMP_NUM_THREADS=1), in a folder that is removed.
`--small` takes a fraction of the load. What a case needs is made in another process, so that the memory that
making it took is not the command's.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Cost, run

if TYPE_CHECKING:
    from m2m.mixture import Mixture

M2M = [sys.executable, "-m", "m2m.cli"]
ANALYSIS = [sys.executable, "-m", "analysis.cli"]
#: A classifier of 4 inputs and 3 classes.
MODEL = "import torch\n\ndef model():\n    return torch.nn.Linear(4, 3)\n"
#: What a case runs: what the row is called, and the command.
Commands = list[tuple[str, list[str]]]


def tell(case: str, cost: Cost) -> None:
    """Print a row of the table in docs/reliability.md."""
    mebibytes = cost.peak_rss_bytes / 2**20
    print(f"| {case} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {mebibytes:.0f} |", flush=True)


def make_experts(folder: Path, small: bool) -> None:
    """Write a base model, its experts and sixteen examples."""
    import torch
    from safetensors.torch import save_file

    from m2m.checkpoint import save

    generator = torch.Generator().manual_seed(0)
    for name in ("base", *(f"e{number}" for number in range(7 if small else 14))):
        weight = torch.randn(3, 4, generator=generator)
        save({"weight": weight, "bias": torch.zeros(3)}, folder / name)
    inputs = torch.randn(16, 4, generator=generator)
    save_file({"input": inputs, "label": torch.arange(16) % 3}, folder / "examples.safetensors")
    (folder / "model.py").write_text(MODEL)


def score(folder: Path, small: bool) -> Commands:
    """Score every subset, twice."""
    count = len(list(folder.glob("e?*"))) - 1  # the examples begin with an e too
    named = [str(folder / f"e{number}") for number in range(count)]
    task = ["--task", f"classify:{folder}/examples.safetensors", "--model", f"{folder}/model.py:model"]
    out = str(folder / "scores.csv")
    command = [*M2M, "score", "--base", str(folder / "base"), "--experts", *named, *task, "--out", out]
    return [
        (f"`m2m score`, {2**count - 1} candidates", command),
        ("the same again: every score is there", command),
    ]


def make_run(folder: Path, small: bool) -> None:
    """Write a run folder whose table has merged and trained scores of every subset, on eight targets."""
    from m2m.mixture import all_subsets
    from m2m.scoring.table import ScoreTable

    count = 9 if small else 16
    names, targets = [f"d{n}" for n in range(count)], [f"t{n}" for n in range(8)]
    mixtures = all_subsets(names)
    root = folder / "run"
    (root / "figures").mkdir(parents=True)
    ScoreTable(root / "scores.sqlite").close()
    with sqlite3.connect(root / "scores.sqlite") as connection:
        marks = ", ".join("?" * 16)
        connection.executemany(f"INSERT INTO scores VALUES ({marks})", score_rows(mixtures, targets))
    connection.close()
    (root / "config.toml").write_text(f'[run]\ntarget = "{targets[0]}"\n')
    (root / "run.json").write_text(json.dumps({"identity": "load", "root": str(root)}))
    picked = list(mixtures[0].members)
    chosen = dict.fromkeys(("picked", "all", "similarity", "random", "oracle"), picked)
    results = {
        "target": targets[0], "metric": "loss", "higher_is_better": False, "datasets": names, **chosen,
        "test": {"base": 2.0, "picked": 1.0}, "validation": {"base": 2.0, "picked": 1.0}, "fidelity": {},
        "seconds": {"base": 1.0}, "recipe": {"sampling": "balanced"}, "seed": 0, "m2m": "load",
    }  # fmt: skip
    (root / "results.json").write_text(json.dumps(results))
    with ScoreTable(root / "scores.sqlite") as table:
        table.export_csv(root / "scores.csv")


def score_rows(mixtures: list[Mixture], targets: list[str]) -> Iterator[tuple[object, ...]]:
    """Make the rows of a table: losses that are a smooth function of the weights, and noise."""
    import numpy as np

    random = np.random.default_rng(0)
    weights = np.array([mixture.weights for mixture in mixtures])
    examples = zlib.compress(np.ones(16, dtype="<f4").tobytes())
    for target in targets:
        pull = random.normal(size=weights.shape[1])
        loss = 2 + weights @ pull + (weights**2).sum(axis=1)
        for origin, noise in (("merged", 0.05), ("trained", 0.02)):
            values = (loss + noise * random.normal(size=len(loss))).tolist()
            for mixture, value in zip(mixtures, values, strict=True):
                named = mixture.shares
                label, seed = mixture.label, None if origin == "merged" else 0
                who = (
                    f"{origin} {label}",
                    label,
                    json.dumps(mixture.members),
                    json.dumps(named),
                    origin,
                    seed,
                )
                what = (
                    target,
                    "validation",
                    "v",
                    "loss",
                    0,
                    value,
                    16,
                    examples,
                    4,
                    "2026-01-01T00:00:00+00:00",
                )
                yield (*who, *what)


def rows_of(folder: Path) -> str:
    """Say how many rows the run's table has."""
    with sqlite3.connect(folder / "run" / "scores.sqlite") as connection:
        [count] = connection.execute("SELECT count(*) FROM scores").fetchone()
    connection.close()
    return f"{count} rows"


def select(folder: Path, small: bool) -> Commands:
    """Pick from a long table."""
    command = [*M2M, "select", str(folder / "run" / "scores.csv"), "--task", "t3", "-q"]
    return [(f"`m2m select`, {rows_of(folder)}", command)]


def search(folder: Path, small: bool) -> Commands:
    """Search a long table."""
    command = [*M2M, "search", str(folder / "run"), "--budget", "60", "-q"]
    return [(f"`m2m search --budget 60`, {rows_of(folder)}", command)]


def fidelity(folder: Path, small: bool) -> Commands:
    """Measure the fidelity of a long table."""
    command = [*ANALYSIS, "fidelity", str(folder / "run"), "--out", str(folder / "out"), "-q"]
    return [(f"`m2m-analysis fidelity`, {rows_of(folder)}", command)]


def report(folder: Path, small: bool) -> Commands:
    """Write the page of a long table's run."""
    return [(f"`m2m report`, {rows_of(folder)}", [*M2M, "report", str(folder / "run"), "-q"])]


def make_mixtures(folder: Path, small: bool) -> None:
    """Write a long table of mixtures and their scores."""
    import numpy as np
    import pandas as pd

    rows, domains = (200, 10) if small else (20_000, 50)
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.full(domains, 0.5), rows)
    loss = 2 + weights @ random.normal(size=domains) + np.exp(-3 * weights[:, 0])
    columns = [f"d{n}" for n in range(domains)]
    pd.DataFrame(weights, columns=columns).to_csv(folder / "x.csv", index_label="index")
    noisy = loss + 0.01 * random.normal(size=rows)
    pd.DataFrame({"loss": noisy}).to_csv(folder / "y.csv", index_label="index")


def predict(folder: Path, small: bool) -> Commands:
    """Predict from a long table of mixtures."""
    tables = ["--mixtures", str(folder / "x.csv"), "--scores", str(folder / "y.csv"), "--target", "loss"]
    size = "200 mixtures of 10 domains" if small else "20,000 mixtures of 50 domains"
    return [(f"`m2m predict`, {size}", [*M2M, "predict", *tables])]


def make_nothing(folder: Path, small: bool) -> None:
    """Need nothing."""


def thousand(folder: Path, small: bool) -> Commands:
    """Search subsets and shares of a thousand datasets with every strategy; what cannot is refused."""
    from m2m.searching import STRATEGIES, Simplex, Subsets

    count, budget = (50, 60) if small else (1000, 60)
    return [
        (
            f"`{name}`, {budget} evaluations among the {kind.__name__.lower()} of {count} datasets",
            [sys.executable, __file__, "strategy", name, kind.__name__, str(count), str(budget)],
        )
        for kind in (Subsets, Simplex)
        for name, strategy in STRATEGIES.items()
        if kind in strategy.spaces
    ]


def search_with(name: str, kind: str, count: str, budget: str) -> None:
    """Search a known loss in this process, for `thousand`."""
    import numpy as np

    from m2m import searching
    from m2m.errors import InputError

    names = [f"d{number}" for number in range(int(count))]
    pull = np.random.default_rng(0).normal(size=len(names))

    def loss(mixture: Mixture) -> float:
        weights = np.array(mixture.weights)
        return float(weights @ pull + (weights**2).sum())

    space: searching.Subsets | searching.Simplex = getattr(searching, kind)(names)
    objective = searching.Objective(loss, higher_is_better=False)
    try:
        found = searching.STRATEGIES[name].search(objective, space, int(budget), 0)
        print(f"  {name}: {found.evaluations} evaluations, loss {found.value:.3f}", file=sys.stderr)
    except InputError as refusal:
        print(f"  {name} refuses: {refusal}", file=sys.stderr)


def make_ten(folder: Path, small: bool) -> None:
    """Write the configuration of a run that trains every subset of ten datasets."""
    names = "abcd" if small else "abcdefghij"
    tests = Path(__file__).parents[1] / "tests"
    (folder / "setup.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tests)!r})\nfrom helpers.linear_setup import linear_setup\n\n"
        f"def make(spec):\n    return linear_setup(seed=1, names={names!r}, width=12, examples=40)\n"
    )
    (folder / "run.toml").write_text(
        '[run]\ntarget = "target"\nvalidate = true\n[train]\nsteps = 20\nbatch = 8\noptimizer = "sgd"\n'
        'learning_rate = 0.02\n[setup]\nkind = "python"\nfactory = "setup.py:make"\n'
    )


def ten(folder: Path, small: bool) -> Commands:
    """Train every subset of ten datasets, and look at what came out."""
    root, count = str(folder / "run"), 15 if small else 1023
    return [
        (
            f"`m2m run`, {count} mixtures trained",
            [*M2M, "run", str(folder / "run.toml"), "--out", root, "-q"],
        ),
        (
            f"`m2m-analysis fidelity`, {count} mixtures",
            [*ANALYSIS, "fidelity", root, "--out", str(folder / "fidelity"), "-q"],
        ),
        (f"`m2m report`, {count} mixtures", [*M2M, "report", root, "-q"]),
    ]


Make = Callable[[Path, bool], None]
#: What a case needs, and the commands it runs.
CASES: dict[str, tuple[Make, Callable[[Path, bool], Commands]]] = {
    "score": (make_experts, score),
    "select": (make_run, select),
    "search": (make_run, search),
    "fidelity": (make_run, fidelity),
    "report": (make_run, report),
    "predict": (make_mixtures, predict),
    "ten": (make_ten, ten),
    "thousand": (make_nothing, thousand),
}


def main() -> None:
    """Run a case."""
    if sys.argv[1:2] == ["strategy"]:
        search_with(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--small", action="store_true", help="a fraction of the load")
    parser.add_argument("--make", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    make, commands = CASES[args.case]
    if args.make is not None:
        make(args.make, args.small)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        small = ["--small"] if args.small else []
        subprocess.run([sys.executable, __file__, args.case, "--make", name, *small], check=True)
        for case, command in commands(Path(name), args.small):
            tell(case, run(command))


if __name__ == "__main__":
    main()
