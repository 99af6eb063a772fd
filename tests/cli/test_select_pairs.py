"""`m2m select --pairs`: corrected scores, exact where pairs decide all, and wrong input is one line."""

from __future__ import annotations

import csv
import json
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import m2m
from m2m.cli import main
from m2m.mixture import Mixture, all_subsets
from m2m.scoring.paired import paired_lead
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats
from m2m.verbs.pairs_of_table import PairCheck

NAMES = ("a", "b", "c", "d")
SUBSETS = all_subsets(NAMES)
PAIRS = [mixture for mixture in SUBSETS if len(mixture.members) == 2]


def write(path: Path, merged: dict[str, Floats], trained: dict[str, list[Floats]]) -> Path:
    """Write a table of losses by example: merged by label, trained by label and seed."""
    with ScoreTable(path.with_suffix(".sqlite")) as table:
        for label, values in merged.items():
            add(table, label, "merged", None, values)
        for label, seeds in trained.items():
            for seed, values in enumerate(seeds):
                add(table, label, "trained", seed, values)
        table.export_csv(path)
    return path


def add(table: ScoreTable, label: str, origin: str, seed: int | None, values: Floats) -> None:
    mixture = Mixture.parse(label, NAMES)
    scores = SimpleNamespace(values={"loss": np.asarray(values, dtype=np.float64)})
    key = f"{mixture.key} {origin} {seed}"
    table.add(key, mixture, origin, seed, "t", "validation", "v1", scores, {"loss": False})


def residual(effects: Floats, mixture: Mixture) -> Floats:
    """Add up u_kj λ_k λ_j, term by term: [E] of effects [pairs, E]."""
    weights = mixture.weights
    terms = zip(combinations(range(len(weights)), 2), effects, strict=True)
    return np.sum([effect * weights[k] * weights[j] for (k, j), effect in terms], axis=0)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_where_training_adds_a_sum_over_pairs_the_pick_is_the_truly_best(seed: int) -> None:
    generator = np.random.default_rng(seed)
    merged = {mixture.label: generator.standard_normal(5) for mixture in SUBSETS}
    effects = generator.standard_normal((len(PAIRS), 5))
    truth = {mixture.label: merged[mixture.label] + residual(effects, mixture) for mixture in SUBSETS}
    noise = {pair.label: generator.standard_normal(5) for pair in PAIRS}
    seeds = {label: [truth[label] + off, truth[label] - off] for label, off in noise.items()}
    with TemporaryDirectory() as folder:
        table = write(Path(folder) / "scores.csv", merged, seeds)
        found = m2m.select(table, pairs=table)
    first, second = sorted(truth, key=lambda label: float(truth[label].mean()))[:2]
    assert (found.picked, found.runner_up and found.runner_up.candidate) == (first, second)
    assert found.value == pytest.approx(truth[first].mean(), abs=1e-12)
    assert found.pairs is not None
    assert found.pairs.trainings == 2 * len(PAIRS)
    assert found.pairs.added == pytest.approx(truth[first].mean() - merged[first].mean(), abs=1e-12)
    assert found.pairs.merged_pick == min(merged, key=lambda label: float(merged[label].mean()))
    assert found.runner_up is not None
    lead = paired_lead(truth[first].tolist(), truth[second].tolist())
    assert found.runner_up.difference is not None
    assert vars(found.runner_up.difference) == pytest.approx(vars(lead), abs=1e-12)


def three(**changes: list[float]) -> dict[str, Floats]:
    """Merged losses of a, b, c and their subsets, of two examples: a is the best of them."""
    losses = {
        "a": [1, 3],
        "b": [3, 3],
        "c": [4, 4],
        "a+b": [2, 3],
        "a+c": [3, 3],
        "b+c": [4, 4],
        "a+b+c": [3, 4],
    }
    return {label: np.array(values, dtype=float) for label, values in (losses | changes).items()}


def pairs_of_three(gain: float) -> dict[str, list[Floats]]:
    """Trained losses of the pairs: the merged ones plus a gain."""
    return {label: [three()[label] + gain] for label in ("a+b", "a+c", "b+c")}


def test_text_and_json_say_what_the_pairs_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merged, trained = tmp_path / "merged.csv", tmp_path / "trained.csv"
    write(merged, three(), {})
    write(trained, {}, pairs_of_three(-2.0))
    # Three pairs of 4 · (−2) · (1/3)² are −8/3 for all three datasets together.
    assert main(["select", str(merged), "--pairs", str(trained)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("picked: a+b\nloss on t (validation, lower is better): 0.5, best of 7\n")
    assert "corrected by 3 trained pairs: -2 to its merged score; without them the pick is a\n" in out
    assert main(["select", str(merged), "--pairs", str(trained), "--seed", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"] == {"trainings": 3, "added": -2.0, "merged_pick": "a", "check": None}
    assert (told["runner_up"]["candidate"], told["runner_up"]["value"]) == (
        "a+b+c",
        pytest.approx(3.5 - 8 / 3),
    )
    assert main(["select", str(merged), "--json"]) == 0
    assert "pairs" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("trained", "error", "said"), [(1.0, 3.5 - 8 / 3 - 1, ""), (3.0, 3.5 - 8 / 3 - 3, "take")]
)
def test_larger_trained_mixtures_are_held_against_it(
    trained: float, error: float, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "s.csv", three(), pairs_of_three(-2.0) | {"a+b+c": [np.full(2, trained)] * 2})
    found = m2m.select(table, pairs=table)
    assert found.pairs is not None
    assert found.pairs.check == PairCheck(2, pytest.approx(abs(3.5 - trained)), pytest.approx(abs(error)))
    assert main(["select", str(table), "--pairs", str(table)]) == 0
    out = capsys.readouterr().out
    assert (
        f"error on 2 larger trained mixtures: {abs(error):.3g}, without pairs {abs(3.5 - trained):.3g}" in out
    )
    assert ("take the pick without them" in out) is bool(said)


def test_tables_without_weights_or_examples_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "scores.csv", three(), pairs_of_three(-2.0))
    (tmp_path / "scores.sqlite").unlink()
    with table.open(encoding="utf-8", newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "weights"} for row in csv.DictReader(file)]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert main(["select", str(table), "--pairs", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runner_up"] == {
        "candidate": "a+b+c",
        "value": pytest.approx(3.5 - 8 / 3),
    }


def test_a_single_dataset_keeps_its_score_and_a_pair_gets_its_trained_one(tmp_path: Path) -> None:
    trained = {"a+b": [np.array([9.0, 8.0])], "a+c": [np.array([0.25, 0.5])], "b+c": [np.array([9.0, 9.0])]}
    table = write(tmp_path / "scores.csv", three(), trained)
    found = m2m.select(table, pairs=table)
    assert (found.picked, found.value) == ("a+c", 0.375)
    assert found.runner_up is not None
    assert (found.runner_up.candidate, found.runner_up.value) == ("a", 2.0)


def without(found: dict[str, list[Floats]], label: str) -> dict[str, list[Floats]]:
    return {name: values for name, values in found.items() if name != label}


@pytest.mark.parametrize(
    ("merged", "trained", "said"),
    [
        (three(), without(pairs_of_three(1), "b+c"), "trained.csv: 1 of 3 pairs were not trained, such as"),
        (without(three(), "b+c"), pairs_of_three(1), "has no merged score of 'b+c', which was trained"),
        (three(), {}, "trained.csv has no scores"),
        (three(), {"a+b": [np.ones(3)]}, "line 2: count is 3, of the merged scores 2: the two cannot"),
    ],
)
def test_what_does_not_fix_the_correction_is_one_line(
    merged: dict[str, Floats],
    trained: dict[str, list[Floats]],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, other = write(tmp_path / "merged.csv", merged, {}), write(tmp_path / "trained.csv", {}, trained)
    assert main(["select", str(one), "--pairs", str(other)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_candidate_that_is_no_mixture_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "scores.csv", three(), pairs_of_three(1))
    table.write_text(table.read_text().replace('""a"": 1.0', '""a"": 2.0'), encoding="utf-8")
    assert main(["select", str(table), "--pairs", str(table)]) == 2
    assert "line 2: 'a' is no mixture, and trained pairs correct only those" in capsys.readouterr().err


def test_trained_scores_are_not_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "scores.csv", three(), pairs_of_three(1))
    assert main(["select", str(table), "--origin", "trained", "--pairs", str(table)]) == 2
    assert "--pairs corrects merged scores, not those with --origin trained" in capsys.readouterr().err
