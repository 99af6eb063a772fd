"""How well predictors rank mixtures: RegMix's 512 runs, every target, and few rows.

    python benchmarks/predict.py --data DIR [--jobs 2] [--part cv|few]

DIR holds `train_mixture_1m.csv` and `train_pile_loss_1m.csv` of github.com/sail-sg/regmix (MIT). `cv` prints
five-fold cross-validated Spearman's ρ of every model on every target, with that of `auto`'s nested choice.
`few` fits n rows of the first half and ranks the other 256, for n = 24, 48, 96, 192.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from m2m.predicting import FAMILIES, fit_predictor
from m2m.predicting.tables import read_mixtures, read_scores, read_table
from m2m.predicting.validation import spearman
from m2m.support.arrays import Floats

#: Rows that are fitted in `few`.
SIZES = (24, 48, 96, 192)


def read(folder: Path) -> tuple[Floats, dict[str, Floats]]:
    """Read the mixtures and every target's losses."""
    mixtures = read_mixtures(folder / "train_mixture_1m.csv")
    losses = folder / "train_pile_loss_1m.csv"
    _, table, _ = read_table(losses, None)
    return mixtures.weights, {target: read_scores(losses, target, mixtures) for target in table.columns}


def cross_validated(x: Floats, y: Floats) -> dict[str, float]:
    """Return the rank correlations of every model on one target, and the seconds that `auto` took."""
    start = time.process_time()
    ranks = dict(fit_predictor(x, y).spearman)
    ranks["auto, CPU s"] = time.process_time() - start
    for name, family in FAMILIES.items():
        if not family.domains:
            ranks[name] = fit_predictor(x, y, name).spearman[name]
    return ranks


def from_few(x: Floats, y: Floats, seed: int) -> dict[str, float]:
    """Return the rank correlations on 256 rows of what few others predict, by model and number of rows."""
    order = np.random.default_rng(seed).permutation(len(x))
    held_out = order[256:]
    ranks = {}
    for size in SIZES:
        rows = order[:size]
        for name in (*FAMILIES, "auto"):
            if name != "auto" and FAMILIES[name].rows_needed(x.shape[1]) > size * 4 // 5:
                continue
            predictor = fit_predictor(x[rows], y[rows], name)
            ranks[f"{name} {size}"] = spearman(predictor.predict(x[held_out]).mean, y[held_out])
    return ranks


def main() -> None:
    """Run one part and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--part", choices=["cv", "few"], default="cv")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--targets", nargs="*", metavar="WORD", help="only targets with one of these in their name"
    )
    args = parser.parse_args()
    x, scores = read(args.data)
    wanted = {t: y for t, y in scores.items() if not args.targets or any(word in t for word in args.targets)}
    with ProcessPoolExecutor(args.jobs) as pool:
        if args.part == "cv":
            results = pool.map(cross_validated, [x] * len(wanted), wanted.values())
        else:
            results = pool.map(from_few, [x] * len(wanted), wanted.values(), [0] * len(wanted))
        found = []
        for target, ranks in zip(wanted, results, strict=True):
            print(target, ranks, file=sys.stderr, flush=True)
            found.append(ranks)
    short = [target.removeprefix("metric/the_pile_").removesuffix("_val_loss") for target in wanted]
    print("| model | " + " | ".join(short) + " | mean |")
    print("| --- |" + " --- |" * (len(short) + 1))
    for name in found[0]:
        values = [ranks[name] for ranks in found]
        print(f"| {name} | " + " | ".join(f"{v:.4f}" for v in [*values, float(np.mean(values))]) + " |")


if __name__ == "__main__":
    main()
