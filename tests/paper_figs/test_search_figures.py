from __future__ import annotations

from itertools import product
from pathlib import Path

import pandas as pd

from paper_figs.search import regret


def results(path: Path, strategies: tuple[str, ...], seeds: int) -> Path:
    columns = ["landscape", "n", "seed", "strategy", "evaluations", "regret"]
    cases = product(["aligned", "grown:r:t"], [4, 8], range(seeds), strategies, [2, 4])
    rows = [(kind, n, seed, name, k * n, seed / k / 9) for kind, n, seed, name, k in cases]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


def test_regret_is_drawn_from_several_files_the_same_each_time(tmp_path: Path) -> None:
    first = results(tmp_path / "a.csv", ("model", "greedy"), 6)
    second = results(tmp_path / "b.csv", ("random",), 6)
    png, svg = regret.draw([first, second], tmp_path / "one")
    assert (png.name, svg.name) == ("search_regret.png", "search_regret.svg")
    again, _ = regret.draw([first, second], tmp_path / "two")
    assert again.read_bytes() == png.read_bytes()
    without, _ = regret.draw([first], tmp_path / "three")
    assert without.read_bytes() != png.read_bytes()


def test_too_few_seeds_are_not_drawn(tmp_path: Path) -> None:
    many, few = results(tmp_path / "a.csv", ("model",), 6), results(tmp_path / "b.csv", ("tpe",), 4)
    alone, _ = regret.draw([many], tmp_path / "one")
    beside, _ = regret.draw([many, few], tmp_path / "two")
    assert alone.read_bytes() == beside.read_bytes()
