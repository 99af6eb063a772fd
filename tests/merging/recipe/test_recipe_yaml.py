"""Recipes as text: YAML 1.2 whoever reads it, and hostile files as one line."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from m2m.errors import RecipeError
from m2m.merging.recipe.document import read_yaml
from m2m.merging.recipe.reader import load

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{here}: &{here} [{', '.join(['*' + there] * 10)}]\n"
    for here, there in zip("bcdefghi", "abcdefgh", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{here}: &{here} {{<<: [{', '.join(['*' + there] * 10)}]}}\n"
    for here, there in zip("bcdefghi", "abcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not a merge recipe"),
        ("- 1", "must be a YAML mapping"),
        ("merge_method: x\nmerge_method: y", "line 2.*twice"),
    ],
)
def test_refuses_files_and_names_them(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=f"recipe.yaml.*{message}"):
        load(path)
    with pytest.raises(RecipeError, match="cannot read"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.25", 0.25), (".5", 0.5), ("-.5", -0.5), ("1e3", 1000.0), ("1.5E3", 1500.0), ("1.", 1.0),
        ("+2", 2),
        ("0x1F", 31), ("0o17", 15), ("07", 7), ("1_000", "1_000"), ("1:30", "1:30"), ("1:30.5", "1:30.5"),
        ("0b11", "0b11"), (".inf", math.inf), ("-.INF", -math.inf), ("yes", "yes"), ("off", "off"),
        ("No", "No"), ("true", True), ("FALSE", False), ("~", None), ("null", None), ("", None),
        ("2024-01-01", "2024-01-01"), ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"), ("=", "="),
        ("'12'", "12"), ("!!str 12", "12"), ("!!float 12", 12.0), ("1e", "1e"), ("nan", "nan"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"a: {text}\n")
    got = read_yaml(path)["a"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 010", "line 1: 010 is 8 in YAML 1.1, as mergekit reads it, and 10 in YAML 1.2"),
        ("b: 1\na: -0100", "line 2: -0100 is -64 in"),
        ("a: !!float 1:30", "line 1: '1:30' is not a number"),
        ("a: !!int x", "line 1: 'x' is not a whole number"),
        ("a: !!bool yes", "line 1: 'yes' is neither true nor false"),
        ("a: {b: 1, c: 2, b: 3}", "line 1: the key 'b' is there twice"),
        ("a: 1\n'a': 2", "line 2: the key 'a' is there twice"),
    ],
)
def test_scalars_and_keys_that_two_readers_read_differently(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=re.escape(message)):
        read_yaml(path)


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    # `top` stands above the mappings that it merges are made: their keys must not count as repeated.
    path.write_text(
        "deep: {x: {y: &p {weight: 1, density: 0.5}, z: &q {<<: *p, weight: 2}}}\ntop: {<<: *q, density: 1}\n"
    )
    content = read_yaml(path)
    assert content["top"] == {"weight": 2, "density": 1}
    assert content["deep"]["x"]["z"] == {"weight": 2, "density": 0.5}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000,
        "a: " * 3000,
        "".join(f"{' ' * n}a:\n" for n in range(3000)),
        LAUGHS,
        MERGED,
        "merge_method: &a [*a]\n",
        "merge_method: !!python/object/apply:os.system [touch ran]\n",
        "merge_method: !!python/name:os.system\n",
        "merge_method: 2001-99-99\nwhen: !!timestamp x\n",
        "? [a, b]\n: 1\n",
        "? {a: b}\n: 1\n",
        "merge_method: !!map x\n",
        "merge_method: !!binary '*'\n",
        "merge_method: " + "9" * 5000 + "\n",
        "merge_method: 0x" + "f" * 5000 + "\n",
        "merge_method: 99999999999999999999999\n",
        'merge_method: "\\uD800"\n',
        "merge_method: \0\n",
        "merge_method: \x07\n",
        "--- a\n--- b\n",
        "%YAML 9.9\n---\na: b\n",
        "*a: b\n",
        "merge_method: !!set {a, b}\n",
    ],
    ids=lambda text: repr(text[:24]),
)  # fmt: skip
def test_hostile_yaml_is_one_line_at_once(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as raised:
        load(path)
    assert str(raised.value).startswith(str(path))
    assert len(str(raised.value)) < 1000
    assert [file.name for file in tmp_path.iterdir()] == ["recipe.yaml"]
