from __future__ import annotations

import json
import multiprocessing
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from table_writer import add, write_many

from m2m.errors import InputError
from m2m.mixture import all_subsets
from m2m.scoring.table import ScoreTable
from m2m.support.content_keys import content_key


def test_a_row_carries_everything(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "scores.sqlite") as table:
        add(table)
        accuracy, loss = table.rows()
    assert (accuracy.metric, accuracy.value, accuracy.count, accuracy.higher_is_better) == (
        "accuracy",
        2 / 3,
        3,
        True,
    )
    assert (loss.value, loss.higher_is_better) == (float(np.mean([0.1, 2.0, 0.3])), False)
    assert loss.examples.tolist() == [0.1, 2.0, 0.3]
    assert (loss.candidate, loss.members) == ("a+c", ["a", "c"])
    assert loss.weights == {"a": 0.5, "b": 0.0, "c": 0.5}
    assert (loss.key, loss.origin, loss.seed, loss.task, loss.split, loss.version) == (
        ("k", "merged", None, "t", "validation", "1")
    )
    assert loss.created.endswith("+00:00")


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e300, 1e300)))
def test_values_come_back_bitwise(values: np.ndarray[Any, Any]) -> None:
    with ScoreTable(Path(":memory:")) as table:
        add(table, scores={"loss": values})
        [row] = table.rows()
    assert row.examples.tobytes() == values.tobytes()
    assert row.value == float(np.mean(values))


def test_accuracies_are_stored_small(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        add(table, scores={"accuracy": np.ones(100_000)})
    with sqlite3.connect(tmp_path / "s") as connection:
        [(size, precision)] = connection.execute("SELECT length(examples), precision FROM scores").fetchall()
    connection.close()
    assert (precision, size < 1000) == (4, True)


def test_adding_again_changes_nothing(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        add(table)
        before = table.rows()
        add(table, scores={"accuracy": np.zeros(3), "loss": np.zeros(3)})
        assert table.rows() == before


def test_has_asks_for_the_model_the_task_the_split_and_the_version(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        add(table)
        assert table.has("k", "t", "validation", "1")
        for other in (("j", "t", "validation", "1"), ("k", "u", "validation", "1"), ("k", "t", "test", "1")):
            assert not table.has(*other)
        assert not table.has("k", "t", "validation", "2"), "a changed task is not scored yet"


def test_rows_are_found_by_any_column_and_none(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        add(table, "base", None, origin="base")
        add(table, "m1", seed=None)
        add(table, "t1", origin="trained", seed=1)
        add(table, "t2", origin="trained", seed=2, split="test")
        assert [row.key for row in table.rows(origin="trained", metric="loss")] == ["t1", "t2"]
        assert [row.key for row in table.rows(seed=None, metric="loss")] == ["base", "m1"]
        assert [row.key for row in table.rows(seed=2, split="test", metric="loss")] == ["t2"]
        [base] = table.rows(origin="base", metric="loss")
        assert (base.candidate, base.members, base.weights) == ("base", [], {})
        with pytest.raises(InputError, match=r"no columns \['metrc'\]; there are \['key', 'candidate'"):
            table.rows(metrc="loss")


def test_rows_come_in_an_order_that_the_writing_order_does_not_decide(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        for mixture in reversed(all_subsets("bca")):
            add(table, mixture.key, mixture)
        found = [row.candidate for row in table.rows(metric="loss")]
    assert found == ["b", "c", "a", "b+c", "b+a", "c+a", "b+c+a"]


def test_frame_and_csv(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        assert table.frame().empty
        add(table, origin="trained", seed=3)
        add(table, "base", None, origin="base")
        frame = table.frame(metric="loss")
        table.export_csv(tmp_path / "scores.csv")
        table.export_csv(tmp_path / "scores.csv")
    assert frame["seed"].tolist() == [pd.NA, 3]
    assert frame["candidate"].tolist() == ["base", "a+c"]
    assert frame["members"].map(json.loads).tolist() == [[], ["a", "c"]]
    assert "examples" not in frame
    read = pd.read_csv(tmp_path / "scores.csv")
    assert read["value"].tolist() == [2 / 3, float(np.mean([0.1, 2.0, 0.3]))] * 2
    assert read["higher_is_better"].tolist() == [True, False] * 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(path), worker)) for worker in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with ScoreTable(path) as table:
        assert len(table.rows(metric="loss")) == 3 * 20 + 20


KILLED = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from m2m.scoring.table import ScoreTable
table = ScoreTable(Path(sys.argv[1]))
scores = SimpleNamespace(values={"loss": np.ones(3)})
table.add("k", None, "base", None, "t", "test", "1", scores, {"loss": False})
os.kill(os.getpid(), 9)
"""


def test_what_was_added_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode == -9
    with ScoreTable(path) as table:
        assert table.has("k", "t", "test", "1")


def test_a_table_that_is_taken_away_while_it_is_used_is_named(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "scores.sqlite") as table:
        for path in tmp_path.iterdir():
            path.unlink()
        for use in (lambda: add(table), lambda: table.distinct("task")):
            with pytest.raises(InputError, match=r"scores.sqlite: the system does not read or write it"):
                use()


def test_a_file_that_is_no_score_table_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, foreign = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("not a database " * 100)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    connection.close()
    before = [text.read_bytes(), foreign.read_bytes()]
    with pytest.raises(InputError, match=r"notes.txt is not a score table: file is not a database"):
        ScoreTable(text)
    with pytest.raises(
        InputError, match=r"other.sqlite is not a score table of this m2m: .* \(0, 0\), wanted"
    ):
        ScoreTable(foreign)
    with pytest.raises(InputError, match=r"cannot make the score table .*: there is no folder"):
        ScoreTable(tmp_path / "missing" / "s")
    assert [text.read_bytes(), foreign.read_bytes()] == before


def test_bad_rows_are_refused_whole(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        with pytest.raises(InputError, match="origin must be one of base, merged, trained, got 'guessed'"):
            add(table, origin="guessed")
        with pytest.raises(InputError, match=r"a\+c, loss on t \(validation\): there are no values"):
            add(table, scores={"accuracy": np.ones(2), "loss": np.ones(0)})
        with pytest.raises(InputError, match=r"a\+c, loss on t .*: the mean is inf, example 1 is 1.7e\+308"):
            add(table, scores={"accuracy": np.ones(2), "loss": np.array([1.5e308, 1.7e308])})
        with pytest.raises(InputError, match=r"the mean is nan, example 1 is nan"):
            add(table, scores={"accuracy": np.ones(2), "loss": np.array([1.0, np.nan])})
        assert table.rows() == []


def test_a_task_has_the_same_examples_and_direction_for_every_model(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        add(table, "one", scores={"loss": np.ones(4)})
    with ScoreTable(tmp_path / "s") as table:
        with pytest.raises(InputError, match=r"loss on t .*: got 3 examples, other models have 4"):
            add(table, "two", scores={"loss": np.ones(3)})
        with pytest.raises(InputError, match="higher is better, but lower for the models that are there"):
            add(table, "two", scores={"loss": np.ones(4)}, metrics={"loss": True})
        add(table, "two", scores={"loss": np.ones(3)}, split="test")
        add(table, "two", scores={"loss": np.ones(3)}, version="2")
        assert [row.count for row in table.rows()] == [3, 4, 3]


def test_rows_compare_without_their_arrays(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "s") as table:
        add(table)
        row = table.rows()[0]
    assert row == replace(row, examples=np.zeros(1), created="later")
    assert row != replace(row, value=0.0)


parts = st.recursive(
    st.one_of(st.text(max_size=3), st.integers(), st.floats(allow_nan=False), st.none()),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(parts, max_size=3), st.lists(parts, max_size=3))
def test_content_keys_are_equal_only_for_equal_content(one: list[Any], other: list[Any]) -> None:
    same = content_key(*one) == content_key(*other)
    assert same == (repr(one) == repr(other))
    assert len(content_key(*one)) == 32


def test_content_keys_keep_parts_and_numbers_apart() -> None:
    keys = [content_key("ab", "c"), content_key("a", "bc"), content_key(["ab", "c"]), content_key("abc")]
    keys += [content_key(1), content_key(1.0), content_key("1"), content_key(0.1), content_key(0.1 + 2**-56)]
    assert len(set(keys)) == len(keys)
    assert content_key((0.5, 0.5)) == content_key([0.5, 0.5])
