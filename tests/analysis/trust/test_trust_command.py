"""`m2m-analysis trust`: tables and runs in, a design or an answer out, mistakes in one line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.missing_numbers import unexplained
from helpers.trust_landscapes import scores

from analysis import measure_trust
from analysis.cli import main
from analysis.trust import Trust, design, of_run, of_table, study, trust
from analysis.trust import belief as room
from m2m.mixture import Mixture, all_subsets
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring import Scores
from m2m.scoring.table import ScoreTable

MERGED, TRUTH = scores(0)
SUBSETS = all_subsets("abcd")
FILES = {"trust.json", "trust.csv", "trust.png", "trust.svg"}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KEPT": 20, "APART": 1, "BEFORE": 10}.items():
        monkeypatch.setattr(room, name, value)


def table(folder: Path, change: Callable[[dict[str, str]], None] = lambda row: None, **of: int) -> Path:
    """Write a table in which the first `trained` mixtures of two or more datasets are trained."""
    rows = []
    for number, mixture in enumerate(SUBSETS):
        shown = 4 <= number < 4 + of.get("trained", 6)
        row = {"members": mixture.label, "merged": repr(float(MERGED[number]))}
        row["trained"] = repr(float(TRUTH[number])) if shown else ""
        change(row)
        rows.append(row)
    return write(folder / "scores.csv", rows)


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_from_a_design_to_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan"
    assert main(["trust", str(table(tmp_path, trained=0)), "--budget", "8", "--out", str(plan)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("(drawn by chance)") == printed.count("(best by merging of those left)") == 4
    rows = read(plan / "trainings.csv")
    assert sorted(row["purpose"] for row in rows) == [""] * 7 + ["random"] * 4 + ["top"] * 4
    for row, score in zip(rows, TRUTH, strict=True):
        row["trained"] = repr(float(score)) if row["purpose"] else ""
    filled = write(tmp_path / "filled.csv", rows)
    out = tmp_path / "out"
    assert main(["trust", str(filled), "--by", "target", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "all: 8 of 11 mixtures of two or more datasets are trained; r = " in printed
    assert "from 4 (simple random sample)" in printed
    best = max((row for row in range(15) if rows[row]["trained"] or row < 4), key=lambda row: TRUTH[row])
    assert f"best trained {SUBSETS[best].label}: score {TRUTH[best]:.4g}, " in printed
    assert {path.name for path in out.iterdir()} == FILES
    assert unexplained(out) == []
    content = json.loads((out / "trust.json").read_text(encoding="utf-8"))
    found = content["by"]["all"]
    assert (found["mixtures"], found["trained"], found["pearson"]["n"]) == (11, 8, 4)
    assert content["source"]["table"] == "filled.csv"
    believed = read(out / "trust.csv")
    assert sum(float(row["best"]) for row in believed) == pytest.approx(1)
    assert [row["candidate"] for row in believed if row["picked"] == "True"] == [found["picked"]["mixture"]]
    assert all(float(row["low"]) <= float(row["mean"]) <= float(row["high"]) for row in believed)


def test_a_design_needs_no_column_of_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "merged.csv"
    lines = [f"{mixture.label},{score!r}" for mixture, score in zip(SUBSETS, MERGED.tolist(), strict=True)]
    path.write_text("\n".join(["members,merged", *lines]), encoding="utf-8")
    out = tmp_path / "out"
    assert main(["trust", str(path), "--budget", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    expected = design(MERGED, SUBSETS, 2)
    assert [line.split()[1] for line in printed.splitlines()[:2]] == [one.mixture.label for one in expected]
    assert (
        "warning: a correlation needs 4 mixtures drawn by chance, and this makes 1: --budget 7 is the least"
    ) in printed
    experts = [row["candidate"] for row in read(out / "trainings.csv") if row["trained"]]
    assert experts == list("abcd")
    outcome = measure_trust(path, tmp_path / "seven", budget=7)
    assert outcome.content["warnings"] == []
    # Without a budget, or with a column that was asked for, it has to be there.
    for options in ([], ["--budget", "2", "--trained", "trained"]):
        assert main(["trust", str(path), *options, "--out", str(out)]) == 2
        assert "has no column 'trained'" in capsys.readouterr().err


def test_a_second_design_goes_on_from_the_first(tmp_path: Path) -> None:
    first = table(tmp_path, trained=0)
    measure_trust(first, tmp_path / "first", budget=4)
    rows = read(tmp_path / "first" / "trainings.csv")
    for row, score in zip(rows, TRUTH, strict=True):
        row["trained"] = repr(float(score)) if row["purpose"] else row["trained"]
    filled = write(tmp_path / "filled.csv", rows)
    measure_trust(filled, tmp_path / "second", budget=3)
    after = read(tmp_path / "second" / "trainings.csv")
    new = [row for row in after if row["purpose"] and not row["trained"]]
    assert len(new) == 3
    # Two drawn by chance before, and two more, new or free: enough for a correlation once all are scored.
    assert sum(row["purpose"] == "random" for row in after) == 4
    assert all(now["purpose"] for was, now in zip(rows, after, strict=True) if was["purpose"])


def test_python_and_the_command_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path)
    assert main(["trust", str(path), "--out", str(tmp_path / "command"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    outcome = measure_trust(path, tmp_path / "python")
    assert isinstance(outcome.study, Trust)
    assert printed["by"]["all"]["picked"] == outcome.study.by["all"].picked.to_json()
    for name in FILES:
        assert (tmp_path / "command" / name).read_bytes() == (tmp_path / "python" / name).read_bytes()
    trained = np.where([4 <= row < 10 for row in range(15)], TRUTH, np.nan)
    found = trust(MERGED, trained, SUBSETS)
    assert found.by["all"].picked == outcome.study.by["all"].picked
    # All six pairs are trained.
    assert found.by["all"].scheffe is not None


def test_several_targets_that_are_losses(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    lines = ["candidate,target,x,y,z"]
    for target, sign in (("p", 1), ("q", -1)):
        for number, mixture in enumerate(SUBSETS):
            y = "" if number in (7, 12) else f"{sign * TRUTH[number]:.17g}"
            lines.append(f"{mixture.label},{target},{sign * MERGED[number]:.17g},{y},{y}")
    path.write_text("\n".join(lines), encoding="utf-8")
    landscapes = of_table(path, merged="x", trained="y", again="z", by="target", higher_is_better=False)
    assert [each.target for each in landscapes] == ["p", "q"]
    assert landscapes[0].trained.shape == (2, 15)
    found = study(landscapes)
    shown = [row for row in range(15) if row not in (7, 12)]
    for target, best in (("p", min), ("q", max)):
        assert found.by[target].measured.row == best(shown, key=lambda row: TRUTH[row])
    assert found.next is not None
    assert found.next.mixture in {SUBSETS[7].label, SUBSETS[12].label}


def test_shares_are_read_from_labels(tmp_path: Path) -> None:
    path = tmp_path / "shares.csv"
    path.write_text(
        'candidate,members,merged,trained\na,a,1,\nb,b,2,\na=0.25+b=0.75,"a+b",3,3.5\na=0.5+b=0.5,a+b,4,4.2\n',
        encoding="utf-8",
    )
    [found] = of_table(path)
    assert found.weights.tolist() == [[1, 0], [0, 1], [0.25, 0.75], [0.5, 0.5]]


def cell(label: str, column: str, value: str) -> Callable[[dict[str, str]], None]:
    def change(row: dict[str, str]) -> None:
        if row["members"] == label:
            row[column] = value

    return change


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (cell("a", "members", "a+b+c+e"), [], "unknown datasets ['a', 'e']; there are ['b', 'c', 'd']"),
        (cell("a+b", "merged", "nan"), [], "row 5, column 'merged': 'nan' is not a number"),
        (cell("a+b", "merged", ""), [], "row 5, column 'merged': '' is not a number"),
        (cell("a+b", "trained", "inf"), [], "row 5, column 'trained': 'inf' is not a number"),
        (cell("a+b", "members", "a+c"), [], "rows 5 and 6: target 'all' has the mixture 'a+c' twice"),
        (lambda row: row.update(merged="1"), [], "all merged scores are equal"),
        (lambda row: row.update(trained=""), [], "0 mixtures of two or more datasets are trained, wanted"),
        (lambda row: row.update(purpose="luck"), [], "unknown purpose 'luck'; there are random, top, next"),
        (lambda row: None, ["--trained", "truth"], "has no column 'truth'"),
        (lambda row: None, ["--by", "trained"], "column 'trained': wanted a target's name, got nothing"),
        (lambda row: None, ["--tolerance", "2"], "--tolerance must be a number from 0 to 1, got 2"),
        (
            lambda row: None,
            ["--budget", "6"],
            "there are 5 mixtures of two or more datasets that are not trained",
        ),
        (lambda row: None, ["--budget", "1"], "--budget must be a whole number of at least 2, got 1"),
    ],
)
def test_mistakes_are_one_line_and_two(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, str]], None],
    options: list[str],
    message: str,
) -> None:
    path = table(tmp_path, change)
    assert main(["trust", str(path), *options, "--out", str(tmp_path / "out")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_no_single_datasets_and_no_mixtures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rows, message in {
        "a+b,1,2\nb+c,2,3\n": "unknown datasets ['a', 'b']; there are [] (no row is of a single dataset)",
        "a,1,1\nb,2,2\n": "no mixture of two or more datasets",
    }.items():
        (tmp_path / "t.csv").write_text("members,merged,trained\n" + rows, encoding="utf-8")
        assert main(["trust", str(tmp_path / "t.csv"), "--out", str(tmp_path / "o")]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("merged,trained\n1,2\n", encoding="utf-8")
    assert main(["trust", str(tmp_path / "t.csv"), "--out", str(tmp_path / "o")]) == 2
    assert "neither a column 'members' nor 'candidate'" in capsys.readouterr().err
    assert main(["trust", str(tmp_path / "t.csv")]) == 2
    assert "a table needs --out" in capsys.readouterr().err


def finished_run(root: Path) -> Path:
    """A run folder's results and scores, two training seeds of half of the mixtures."""
    root.mkdir()
    folder = RunFolder(root)
    folder.results.write_text(
        json.dumps({"metric": "loss", "datasets": list("abcd"), "seed": 3}), encoding="utf-8"
    )
    folder.identity.write_text(json.dumps({"identity": "made", "root": str(root)}), encoding="utf-8")
    with ScoreTable(folder.table) as scored:
        for number, mixture in enumerate(SUBSETS):
            _add(scored, mixture, "merged", None, -MERGED[number])
            if number < 4 or number % 2:
                _add(scored, mixture, "trained", 3, -TRUTH[number])
                _add(scored, mixture, "trained", 4, -TRUTH[number] + 0.01)
    return root


def _add(scored: ScoreTable, mixture: Mixture, origin: str, seed: int | None, value: float) -> None:
    measured = Scores({"loss": np.array([value, value])})
    key = f"{origin} {seed} {mixture.label}"
    scored.add(key, mixture, origin, seed, "t", "validation", "1", measured, {"loss": False})


def test_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path / "run")
    [found] = of_run(run)
    assert (found.higher_is_better, found.metric, found.trained.shape) == (False, "loss", (2, 15))
    assert found.trained_several == 5
    # Another seed of an expert is a training of its own.
    assert found.trainings[0].tolist() == [5, 7, 9, 11, 13, 0, 1, 2, 3, 5, 7, 9, 11, 13]
    assert main(["trust", str(run)]) == 0
    assert "5 of 11 mixtures" in capsys.readouterr().out
    assert {path.name for path in (run / "figures").iterdir()} == FILES
    assert unexplained(run / "figures") == []
    assert main(["trust", str(run), "--budget", "2", "--out", str(tmp_path / "plan")]) == 0
    proposed = {line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("train ")}
    assert len(proposed) == 2
    assert proposed <= {SUBSETS[row].label for row in range(4, 15, 2)}
    assert main(["trust", str(run), "--lower-is-better"]) == 2
    assert "--lower-is-better are for tables, not for a run" in capsys.readouterr().err
    assert main(["trust", str(tmp_path)]) == 2
    assert "is not a finished run folder" in capsys.readouterr().err
