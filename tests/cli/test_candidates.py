"""Candidates of the command line: every subset, or a table that is wrong in one clear way."""

from __future__ import annotations

from pathlib import Path

import pytest

from m2m.candidates import read_candidates
from m2m.cli.words import named_paths
from m2m.errors import ConfigError, InputError

NAMES = ["a", "b", "c"]


def table(tmp_path: Path, text: str) -> str:
    path = tmp_path / "candidates.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_all_is_every_subset_small_ones_first() -> None:
    candidates = read_candidates("all", NAMES)
    assert [c.label for c in candidates] == ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]
    assert candidates[3].weights == (0.5, 0.5, 0.0)


def test_every_subset_of_many_experts_is_refused_at_once() -> None:
    with pytest.raises(
        InputError, match="30 datasets have 1073741823 subsets, and at most 1048575 are listed"
    ):
        read_candidates("all", [f"e{number}" for number in range(30)])


def test_weights_by_column_whatever_their_order(tmp_path: Path) -> None:
    source = table(tmp_path, "c,a,b\n0,0.5,0.5\n1.5,-0.25,0\n0,0.25,0.75\n")
    candidates = read_candidates(source, NAMES)
    assert [c.weights for c in candidates] == [(0.5, 0.5, 0), (-0.25, 0, 1.5), (0.25, 0.75, 0)]
    assert [c.label for c in candidates] == ["a+b", "a=-0.25+c=1.5", "a=0.25+b=0.75"]


def test_members_and_names(tmp_path: Path) -> None:
    candidates = read_candidates(table(tmp_path, "candidate,members\nmine,c + a\n,b\n"), NAMES)
    assert [(c.label, c.weights) for c in candidates] == [("mine", (0.5, 0, 0.5)), ("b", (0, 1, 0))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no candidates"),
        ("a,b,c\n", "has no candidates"),
        ("a,b\n1,0\n", "no column for ['c']"),
        ("a,b,d\n1,0,0\n", "unknown key 'd'"),
        ("a,b,c\n1,0\n", "line 2: wanted as many cells"),
        ("a,b,c\n1,0,0,0\n", "line 2: wanted as many cells"),
        ("a,b,c\n1,0,0\n1,zero,0\n", "line 3: 'zero' is not a number"),
        ("a,b,c\n1,nan,0\n", "line 2: 'nan' is not a number"),
        ("a,b,c\n1,1e999,0\n", "line 2: weights must be finite"),
        ("a,b,c\n1,1_0,0\n", "line 2: '1_0' is not a number"),
        ('a,b,c\n"0,5",0,0\n', "line 2: '0,5' is not a number"),
        ("a,b,c\n0,5,0,5,0\n", "line 2: wanted as many cells as the header has columns (3), got 5"),
        ("a,b,c,a\n1,0,0,0\n", "line 1: there is more than one column 'a'"),
        ("a,b,c, b \n1,0,0,0\n", "line 1: there is more than one column 'b'"),
        ("members\na+a\n", "line 2: 'a' is there twice"),
        ("members\na+ a\n", "line 2: 'a' is there twice"),
        ("members\na+x\n", "line 2: unknown datasets ['x']"),
        ("members,a\na,1\n", "unknown key 'a'"),
        ("a, b,c,b \n1,0,0,0\n", "more than one column 'b'"),
        ("members\na+b\nb+a\n", "lines 2 and 3: two candidates are called 'a+b'"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_candidates(table(tmp_path, text), NAMES)
    assert said in str(caught.value)
    assert "candidates.csv" in str(caught.value)


def test_lines_are_counted_as_editors_do(tmp_path: Path) -> None:
    source = table(tmp_path, "a,b,c\n\n1,0,0\n\n1,0,x\n")
    with pytest.raises(ConfigError, match="line 5: 'x' is not a number"):
        read_candidates(source, NAMES)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_candidates(str(tmp_path / "none.csv"), NAMES)


def test_experts_are_named_by_their_path_or_by_the_user() -> None:
    paths = named_paths(["runs/code", "web=runs/x/1", "law.safetensors"])
    assert {name: str(path) for name, path in paths.items()} == {
        "code": "runs/code", "web": "runs/x/1", "law": "law.safetensors"
    }  # fmt: skip
    assert [*named_paths(["run/experts/cpp/seed0", "run/experts/law/seed0"])] == ["cpp", "law"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x/a", "./x/a"], "two experts are called 'a'"),
        (["a+b"], "joins names"),
        (["Math=x", "math=y"], "case"),
        (["=x"], r"wants \[NAME=\]PATH, got '=x'"),
        (["a="], "got 'a='"),
        ([""], "got ''"),
    ],
)
def test_expert_names_that_cannot_be_told_apart(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        named_paths(words)
