"""Points from a table, from a run; and what is wrong with them, said in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.fidelity import fidelity, of_run, of_scores, of_table, record
from analysis.fidelity.study import REASONS, points_table, summary_table
from analysis.results import explained
from m2m.errors import InputError
from m2m.mixture import Mixture, all_subsets
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks.scorer import Scores

DATASETS = ("a", "b", "c")
SUBSETS = all_subsets(DATASETS)


def surrogate_and_truth(target: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(target)
    merged = rng.normal(size=len(SUBSETS)) + 10 * target
    return merged, merged + 0.3 * rng.normal(size=len(SUBSETS))


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def two_targets(folder: Path) -> Path:
    rows = ["members,target,merged,trained"]
    for target in range(2):
        merged, trained = surrogate_and_truth(target)
        rows += [
            f"{m.label},t{target},{x},{y}"
            for m, x, y in zip(SUBSETS, merged.tolist(), trained.tolist(), strict=True)
        ]
    return table(folder, "\n".join(rows) + "\n")


def test_a_table_by_target(tmp_path: Path) -> None:
    study = of_table(two_targets(tmp_path), "merged", "trained", "target")
    assert list(study.by) == ["t0", "t1"]
    merged, trained = surrogate_and_truth(1)
    every, large = study.by["t1"].with_singletons.pearson, study.by["t1"].mixtures.pearson
    assert (every.n, every.value) == (7, pytest.approx(stats.pearsonr(merged, trained).statistic))
    assert (large.n, large.value) == (4, pytest.approx(stats.pearsonr(merged[3:], trained[3:]).statistic))
    assert study.by["t1"].to_json()["singletons"] == 3
    assert study.pooled is not None
    assert (study.pooled.mixtures.pearson.n, study.pooled.with_singletons.pearson.n) == (8, 14)
    assert study.pooled.uncentred.pearson.value > study.pooled.mixtures.pearson.value
    assert study.mixed.slope.n == 8


def test_a_table_without_targets_or_members(tmp_path: Path) -> None:
    study = of_table(table(tmp_path, "x,y\n1,1\n2,3\n3,2\n4,5\n"), "x", "y")
    assert study.pooled is None
    assert study.overall is study.by["all"]
    assert study.overall.mixtures.spearman.value == pytest.approx(0.8)
    assert study.overall.with_singletons == study.overall.mixtures
    found = explained(study.by["all"].to_json(), REASONS)
    assert found["singletons"] is None
    assert "not known" in found["undefined"]["singletons"]


def test_a_candidate_that_names_datasets_tells_its_members(tmp_path: Path) -> None:
    labels = ["a", "b", "c", "a=0.25+b=0.75", "a+b", "a+c", "b+c", "a+b+c"]
    rows = "".join(f"{label},{i},{i * i}\n" for i, label in enumerate(labels))
    found = of_table(table(tmp_path, f"candidate,x,y\n{rows}"), "x", "y").by["all"]
    assert found.mixtures.pearson.n == 5
    assert found.with_singletons.pearson.n == 8
    assert found.points.labels == tuple(labels)


def test_empty_cells_are_left_out_and_counted(tmp_path: Path) -> None:
    study = of_table(table(tmp_path, "x,y\n1,1\n2,\n3,2\n,4\n4,5\n5,6\n"), "x", "y")
    found = study.by["all"].to_json()
    assert (found["mixtures"]["pearson"]["n"], found["left_out"]) == (4, 2)


def test_nan_is_not_an_empty_cell(tmp_path: Path) -> None:
    study = of_table(table(tmp_path, "x,y\n1,1\n2,nan\n3,2\n4,5\n5,6\n"), "x", "y")
    assert study.by["all"].mixtures.pearson.value is None
    assert "1 of 5 mixtures" in study.by["all"].mixtures.pearson.reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,z\n1,2\n", r"no column 'y'; it has \['x', 'z'\]"),
        ("x,y\n1,2\n3,four\n", "row 2, column 'y': wanted a number, got 'four'"),
        ("x,y\n", "header but no rows"),
        ("x,Y1\n1,2\n", r"no column 'y'; it has"),
        ("x,y,x\n1,2,3\n", "line 1: there is more than one column 'x'"),
        ("x,y,z, z\n1,2,3,4\n", "line 1: there is more than one column 'z'"),
        ("x,y\n1,2\n3\n", r"line 3: wanted as many cells as the header has columns \(2\), got 1"),
        ("x,y\n1,2,3\n", r"line 2: wanted as many cells"),
        ("x,y\n1,\n,3\n", "no row has both 'x' and 'y'"),
        ("x,y\n1_000,3\n", "row 1, column 'x': wanted a number, got '1_000'"),
        ("x,y\n1e200,3\n2,2\n", "a merged score is 1e\\+200; wanted at most 1e\\+150"),
        (
            "members,x,y\na+b,1,2\nb,3,3\nb+a,3,4\n",
            r"rows 1 and 3: target 'all' has the mixture 'a\+b' twice",
        ),
        ("members,x,y\na+a,1,2\n", "row 1, column 'members': wanted different names, got 'a\\+a'"),
        ("members,x,y\n,1,2\n", "row 1, column 'members': wanted different names, got ''"),
        ('members,x,y\n"[""a"",""b""]",1,2\n"[""a+b""]",3,4\n', "dataset name 'a\\+b' has"),
        ("", "not a CSV table"),
        ("candidate,x,y\na,1,2\na,3,4\n", "rows 1 and 2: target 'all' has the mixture 'a' twice"),
        ('members,x,y\n"[""a",1,2\n', "row 1, column 'members': wanted names joined by .*JSON list"),
        (f"members,x,y\n{'[' * 100_000},1,2\n", "JSON list of names, got '\\[+…'"),
        (f"members,x,y\n[{'1' * 5000}],1,2\n", "wanted names joined by"),
        ("members,x,y\n[],1,2\n", r"wanted names joined by .*, got '\[\]'"),
        ("members,x,y\n[null],1,2\n", "wanted names joined by"),
        ("members,x,y\na=0.5+b=0.5,1,2\n", "wanted names alone, .*weights stand in column 'candidate'"),
    ],
)
def test_a_wrong_table_says_what_and_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        of_table(table(tmp_path, text), "x", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,x,y\nu,1,2\n,3,4\n", "row 2, column 't': wanted a target's name, got nothing"),
        ("target,x,y\nu,1,2\n", "no column 't'; it has"),
        (
            "t,candidate,members,x,y\nu,m,a,1,2\nv,m,b,1,2\n",
            r"mixture 'm' has members \['b'\] in target 'v' and \['a'\] in another",
        ),
    ],
)
def test_targets_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        of_table(table(tmp_path, text), "x", "y", "t")


def test_a_misspelt_column_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'mergd' \(did you mean 'merged'\?\)"):
        of_table(table(tmp_path, "merged,trained\n1,2\n"), "mergd", "trained")
    with pytest.raises(InputError, match="'x' is asked for twice"):
        of_table(table(tmp_path, "x,y\n1,2\n"), "x", "x")


def test_names_of_a_mixture_may_come_in_any_order(tmp_path: Path) -> None:
    rows = ["members,t,x,y", "b,u,1,2", "a,u,3,3", "a+b,u,5,4", "c,u,6,6"]
    rows += ["b,v,1,2", "a,v,3,3", "b+a,v,5,4", "d,v,6,6"]
    study = of_table(table(tmp_path, "\n".join(rows)), "x", "y", "t")
    assert study.by["v"].points.labels == ("b", "a", "b+a", "d")
    assert study.by["u"].points.labels[2] == "b+a"
    assert study.pooled is not None
    # c and d are in one target each: nothing says how they would have done in the other.
    assert (study.pooled.incomplete, study.pooled.with_singletons.pearson.p) == (0, None)


def test_a_target_too_small_for_itself_counts_in_the_pool(tmp_path: Path) -> None:
    rows = ["t,x,y", "u,1,2", "u,2,3", "u,3,1", "u,4,5", "v,1,2", "v,3,4"]
    study = of_table(table(tmp_path, "\n".join(rows)), "x", "y", "t")
    assert study.by["v"].mixtures.pearson.reason == "2 mixtures are too few: at least 4 are needed"
    assert study.pooled is not None
    assert study.pooled.mixtures.pearson.n == 6


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the table"):
        of_table(tmp_path / "nothing.csv", "x", "y")


def test_arrays_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="different lengths"):
        fidelity([1, 2, 3], [1, 2])
    with pytest.raises(InputError, match="wanted numbers"):
        fidelity(["high", "low"], [1, 2])
    with pytest.raises(InputError, match=r"got shape \[1, 2\]"):
        fidelity([[1, 2]], [1, 2])


def frame() -> pd.DataFrame:
    rows = []
    for i, target in enumerate(("seen", "unseen")):
        merged, trained = surrogate_and_truth(i)
        for mixture, x, y in zip(SUBSETS, merged, trained, strict=True):
            names = {"candidate": mixture.label, "members": json.dumps(mixture.members), "task": target}
            for origin, seed, value in (("merged", None, x), ("trained", 3, y), ("trained", 4, y + 0.1 * x)):
                rows.append({**names, "origin": origin, "seed": seed, "value": value, "split": "validation"})
                rows.append({**names, "origin": origin, "seed": seed, "value": -value, "split": "test"})
    return pd.DataFrame(rows).assign(metric="loss", higher_is_better=False)


def test_a_table_of_scores() -> None:
    study = of_scores(frame())
    merged, trained = surrogate_and_truth(0)
    seen = study.by["seen"]
    assert seen.with_singletons.pearson.value == pytest.approx(stats.pearsonr(merged, trained).statistic)
    agreement = seen.ceiling.agreement["pearson"]  # without singletons, like the headline
    expected = stats.pearsonr(trained[3:], (trained + 0.1 * merged)[3:]).statistic
    assert agreement.value == pytest.approx(expected)
    assert seen.decision.picked == SUBSETS[int(np.argmin(merged))].label
    assert (seen.points.metric, seen.points.higher_is_better) == ("loss", False)


def test_splits_may_differ() -> None:
    study = of_scores(frame(), trained_split="test")
    assert study.by["seen"].with_singletons.pearson.value == pytest.approx(
        -of_scores(frame()).by["seen"].with_singletons.pearson.value
    )


def test_order_of_rows_does_not_matter_to_a_correlation() -> None:
    shuffled = frame().sample(frac=1, random_state=0)
    first, second = of_scores(frame()).by["seen"], of_scores(shuffled).by["seen"]
    assert first.with_singletons.kendall.value == pytest.approx(second.with_singletons.kendall.value)
    assert first.decision.picked == second.decision.picked


def test_a_candidate_without_truth_is_counted() -> None:
    scores = frame()
    gone = (scores["candidate"] == "a+b") & (scores["origin"] == "trained")
    found = of_scores(scores[~gone]).by["seen"]
    assert (found.points.n, found.points.left_out) == (6, 1)


def test_scores_that_do_not_fit() -> None:
    scores = frame()
    with pytest.raises(InputError, match="no metric 'accuracy'"):
        of_scores(scores, metric="accuracy")
    with pytest.raises(InputError, match="2 metrics, say which"):
        of_scores(pd.concat([scores, scores.assign(metric="other")]))
    with pytest.raises(InputError, match="'a' is scored twice with origin 'merged'"):
        of_scores(pd.concat([scores, scores.head(1)]))
    with pytest.raises(InputError, match="no target has both"):
        of_scores(scores[scores["origin"] != "trained"])


def run_folder(root: Path, oracle: list[str] | None) -> Path:
    root.mkdir()
    scores = ScoreTable(root / "scores.sqlite")
    for i, target in enumerate(("seen", "unseen")):
        merged, trained = surrogate_and_truth(i)
        for mixture, x, y in zip(SUBSETS, merged, trained, strict=True):
            for origin, seed, value in (("merged", None, x), ("trained", 0, y), ("trained", 1, y + 0.1 * x)):
                add(scores, mixture, origin, seed, target, value)
    results = {"metric": "loss", "higher_is_better": False, "seed": 0, "oracle": oracle, "fidelity": {}}
    (root / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return root


def add(
    scores: ScoreTable, mixture: Mixture, origin: str, seed: int | None, target: str, value: float
) -> None:
    measured = Scores({"loss": np.full(4, value)})
    key = f"{origin} {seed} {mixture.key}"
    scores.add(key, mixture, origin, seed, target, "validation", "v1", measured, {"loss": False})


def test_a_run_gets_its_fidelity(tmp_path: Path) -> None:
    root = run_folder(tmp_path / "run", oracle=["a"])
    study = of_run(root)
    record(study, root)
    found = json.loads((root / "results.json").read_text())["fidelity"]
    assert set(found) == {"seen", "unseen"}
    merged, trained = surrogate_and_truth(0)
    assert found["seen"]["mixtures"]["pearson"]["value"] == pytest.approx(
        stats.pearsonr(merged[3:], trained[3:]).statistic
    )
    assert found["seen"]["ceiling"]["spearman"]["n"] == 4
    assert sorted(path.name for path in (root / "figures").iterdir()) == [
        "fidelity.csv",
        "fidelity.json",
        "fidelity_beside.csv",
        "fidelity_choices.csv",
        "fidelity_points.csv",
        "fidelity_regrets.csv",
    ]


def test_a_run_that_trained_only_its_choice_has_no_fidelity(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="validate = true"):
        of_run(run_folder(tmp_path / "run", oracle=None))
    with pytest.raises(InputError, match="not a finished run folder"):
        of_run(tmp_path)


def test_tables_for_figures_and_spreadsheets() -> None:
    study = of_scores(frame())
    points = points_table(study)
    assert len(points) == 14
    assert points.groupby("target")[["pick", "oracle"]].sum().to_numpy().tolist() == [[1, 1], [1, 1]]
    assert points["singleton"].sum() == 6
    summary = summary_table(study)
    assert set(summary["target"]) == {"seen", "unseen", "(all targets)"}
    assert len(summary) == 3 * 2 * 3
