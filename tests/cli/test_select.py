"""`m2m select`: the right direction, ties, ambiguity refused, and an interval from paired examples."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.small_files import small_files

from m2m.cli import main
from m2m.mixture import Mixture, all_subsets
from m2m.scoring.paired import paired_lead
from m2m.scoring.table import ScoreTable

NAMES = ("a", "b", "c")


def write(folder: Path, losses: dict[str, list[float]], **more: str) -> Path:
    """Write a table of merged candidates' losses (lower is better), the way `m2m score` does."""
    add(folder, losses, **more)
    return folder / "scores.csv"


def add(
    folder: Path, losses: dict[str, list[float]], task: str = "t", metric: str = "loss", version: str = "v1"
) -> None:
    with ScoreTable(folder / "scores.sqlite") as table:
        for label, values in losses.items():
            mixture = Mixture.subset(NAMES, label.split("+"))
            scores = SimpleNamespace(values={metric: np.array(values, dtype=np.float64)})
            table.add(
                mixture.key,
                mixture,
                "merged",
                None,
                task,
                "validation",
                version,
                scores,
                {metric: metric != "loss"},
            )
        table.export_csv(folder / "scores.csv")


def select(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> dict[str, object]:
    assert main(["select", *map(str, argv), "--json"]) == 0
    content: dict[str, object] = json.loads(capsys.readouterr().out)
    return content


def test_picks_the_lowest_loss_with_the_runner_ups_distance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path, {"a": [2, 3, 4], "b+c": [1, 2, 2], "c": [9, 9, 9]})
    got = select(capsys, table)
    assert (got["picked"], got["members"], got["candidates"]) == ("b+c", ["b", "c"], 3)
    runner_up = got["runner_up"]
    assert isinstance(runner_up, dict)
    assert runner_up["candidate"] == "a"
    # Differences −1, −1, −2: mean −4/3, standard deviation 1/√3, so the standard error is 1/3.
    assert runner_up["difference"] == pytest.approx(
        {
            "value": -4 / 3,
            "low": -4 / 3 - 1.959963984540054 / 3,
            "high": -4 / 3 + 1.959963984540054 / 3,
            "n": 3,
        }
    )


def test_higher_is_better_where_the_table_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path, {"a": [0.5], "b": [0.75]}, metric="accuracy")
    got = select(capsys, table)
    assert got["picked"] == "b"
    assert got["runner_up"] == {"candidate": "a", "value": 0.5}, "one example has no interval"


def test_ties_go_to_fewer_datasets_then_to_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [mixture.label for mixture in reversed(all_subsets(NAMES))]
    table = write(tmp_path, {label: [1.0, 2.0] for label in labels})
    assert select(capsys, table)["members"] == ["a"]


def test_without_the_database_there_is_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path, {"a": [1, 2], "b": [2, 2]})
    (tmp_path / "scores.sqlite").unlink()
    assert select(capsys, table)["runner_up"] == {"candidate": "b", "value": 2.0}


def test_text_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path, {"a": [1, 2, 3], "b": [3, 2, 1.5]})
    assert main(["select", str(table)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("picked: a\nloss on t (validation, lower is better): 2, best of 2\n")
    assert "these examples cannot tell the two apart" in out


def test_what_is_ambiguous_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(tmp_path, {"a": [1, 2], "b": [2, 2]})
    table = write(tmp_path, {"a": [5, 5], "b": [4, 4]}, task="u")
    assert main(["select", str(table)]) == 2
    assert "say --task with one of ['t', 'u']" in capsys.readouterr().err
    assert select(capsys, table, "--task", "u")["picked"] == "b"
    assert main(["select", str(table), "--task", "tt"]) == 2
    assert "no task 'tt' (did you mean 't'?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no scores"),
        ("a,b\n1,2\n", "no column 'candidate'"),
        ("candidate,members,origin,seed,task,split,metric,value,higher_is_better\n", "has no scores"),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
            "a,[],merged,,t,validation,loss,nan,False\n",
            "line 2: wanted a number in `value`",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
            "a,[],merged,,t,validation,loss,1e999,False\n",
            "line 2: wanted a finite",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
            "a,[],merged,,t,validation,loss,1_0,False\n",
            "line 2: wanted a number in `value`",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
            'a,"[""a"",""a""]",merged,,t,validation,loss,1,False\n',
            "line 2: wanted a finite `value` and a list of different `members`",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
            "a,[],merged,,t,validation,loss,1,maybe\n",
            "line 2: `higher_is_better` must be True or False, got 'maybe'",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,value ,higher_is_better\n"
            "a,[],merged,,t,validation,loss,1,2,False\n",
            "line 1: there is more than one column 'value'",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
            "a,[],merged,,t,validation,loss,1,False\nb,[],merged,,t,validation,loss,2,True\n",
            "different directions cannot be compared",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better,count\n"
            "a,[],merged,,t,validation,loss,1,False,10\nb,[],merged,,t,validation,loss,2,False,9\n",
            "different numbers of examples cannot be compared",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
            "a,[],merged,,t,validation,loss,1,False\nb,[],merged,,t,validation,loss,3,False\n"
            "a,[],merged,,t,validation,loss,2,False\n",
            "scores.csv, lines 2 and 4: two scores of 'a'; experts or device were not the same",
        ),
        (
            "candidate,members,origin,seed,task,split,metric,value,higher_is_better\n"
            "a,a+b,merged,,t,validation,loss,1,False\n",
            "line 2: wanted a number in `value`, a JSON list",
        ),
    ],
)
def test_a_wrong_table_is_one_line(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "scores.csv"
    table.write_text(text, encoding="utf-8")
    assert main(["select", str(table)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_spreadsheets_spelling_of_the_direction_is_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path, {"a": [0.5], "b": [0.75]}, metric="accuracy")
    table.write_text(table.read_text().replace("True", "TRUE"))
    assert select(capsys, table)["picked"] == "b"


def test_scores_of_two_versions_of_a_task_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tmp_path, {"a": [1, 2], "c": [2, 2]})
    table = write(tmp_path, {"b": [5, 5]}, version="v2")
    assert main(["select", str(table)]) == 2
    assert "several versions, say --task-version with one of ['v1', 'v2']" in capsys.readouterr().err
    assert select(capsys, table, "--task-version", "v1")["picked"] == "a"


def test_a_table_edited_by_hand_is_held_against_its_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path, {"a": [1, 2], "b": [2, 2]})
    table.write_text(table.read_text().replace(",2.0,", ",0.5,"))
    assert main(["select", str(table)]) == 2
    assert "the table was edited" in capsys.readouterr().err


def test_the_interval_covers_the_truth_about_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    trials = 400
    covered = 0
    for _ in range(trials):
        shared, own = rng.normal(size=200), rng.normal(size=200)
        lead = paired_lead((shared + own + 0.3).tolist(), shared.tolist())
        covered += lead.low <= 0.3 <= lead.high
    # Binomial(400, 0.95) has a standard deviation of 4.4; four of them either way.
    assert abs(covered - 0.95 * trials) < 4 * np.sqrt(trials * 0.95 * 0.05)


def test_scores_are_read_where_nothing_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path, {"a": [1, 2], "b": [2, 4]})
    before = select(capsys, table)
    (tmp_path / "scores.sqlite").chmod(0o444)
    with small_files(0):  # as good as read-only, for root too
        assert select(capsys, table) == before


def test_a_name_that_a_spreadsheet_would_compute_is_written_as_text_and_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path, {"a": [-1, -2], "b": [2, 4]}, metric="=1+1", task="@task")
    with table.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert {"'=1+1", "'@task", "-1.5"} <= set(cells)
    assert not [cell for cell in cells if cell[:1] in tuple("=+@")]
    got = select(capsys, table, "--metric", "=1+1", "--task", "@task")
    assert (got["metric"], got["task"], got["picked"]) == ("=1+1", "@task", "b")
    assert isinstance(got["runner_up"], dict)
    assert got["runner_up"]["difference"]["n"] == 2  # its row of the SQLite table is found as well


def test_a_pick_among_equal_values_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path, {"a+b": [1, 2], "b": [2, 1], "c": [1, 2], "a": [9, 9]})
    got = select(capsys, table)
    assert (got["picked"], got["ties"]) == ("b", 2)
    assert main(["select", str(table)]) == 0
    assert "tied: 2 others have exactly this value" in capsys.readouterr().out
    assert select(capsys, write(tmp_path, {"b+c": [0, 1]}))["ties"] == 0


def test_the_headline_metric_decides_unless_another_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As a task with two metrics writes them: `loss` is its first, `bits` comes before it in the alphabet.
    with ScoreTable(tmp_path / "scores.sqlite") as table:
        for label, loss, bits in (("a", 1.0, 9.0), ("b", 2.0, 8.0)):
            mixture = Mixture.subset(NAMES, [label])
            values = {"bits": np.array([bits]), "loss": np.array([loss])}
            table.add(
                mixture.key, mixture, "merged", None, "t", "validation", "v1",
                SimpleNamespace(values=values), {"loss": False, "bits": False},
            )  # fmt: skip
        table.export_csv(tmp_path / "scores.csv")
    got = select(capsys, tmp_path / "scores.csv")
    assert (got["metric"], got["picked"]) == ("loss", "a")
    assert select(capsys, tmp_path / "scores.csv", "--metric", "bits")["picked"] == "b"
    out = tmp_path / "data.json"
    assert main(["export", str(tmp_path / "scores.csv"), "--to", "json", "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == {"datasets": ["a"], "weights": [1.0]}
    capsys.readouterr()
    (tmp_path / "scores.sqlite").unlink()
    assert main(["select", str(tmp_path / "scores.csv")]) == 2
    assert "several metrics, say --metric with one of ['bits', 'loss']" in capsys.readouterr().err
