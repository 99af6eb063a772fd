"""docs/configuration.md and the JSON schema are what the readers of a configuration say about themselves."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from m2m.errors import ConfigError
from m2m.pipeline.config import load
from m2m.pipeline.config_tables import TABLES, ConfigTable, json_schema, json_schema_text, reference
from m2m.support.options import keys_of

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
VALIDATOR = Draft202012Validator(json_schema())


def example(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "examples" / name).read_text(encoding="utf-8"))


def test_the_documents_are_up_to_date() -> None:
    docs = ROOT / "docs"
    assert (docs / "configuration.md").read_text(encoding="utf-8") == reference(), "run `make docs`"
    assert (docs / "configuration.schema.json").read_text(encoding="utf-8") == json_schema_text(), (
        "run `make docs`"
    )


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json.loads(json_schema_text()) == json.loads(json.dumps(json_schema()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_fit_the_schema(path: Path) -> None:
    assert not list(VALIDATOR.iter_errors(example(path.name)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("run", "taget"), "tests"),
        (("run", "seed"), -1),
        (("train", "steps"), 0),
        (("train", "optimizer"), "adam"),
        (("train", "betas"), [0.9]),
        (("setup", "kind"), "langauge"),
        (("setup", "base", "widht"), 3),
        (("setup", "datasets", "python", "limit"), "all"),
        (("setup", "datasets", "python", "files"), [3]),
        (("setup", "targets", "tests", "file"), "x"),
        (("setup", "targets", "quiz"), {"task": "choice", "files": "quiz.jsonl"}),
        (("setup", "targets", "quiz"), {"task": "choice", "file": "quiz.jsonl", "test": 0}),
        (("mix",), {"pick": "worst"}),
    ],
)
def test_what_the_reader_refuses_does_not_fit_the_schema(place: tuple[str, ...], value: object) -> None:
    tables = copy.deepcopy(example("minimal.toml"))
    inner = tables
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    assert not VALIDATOR.is_valid(tables)


@pytest.mark.parametrize("name", ["minimal.toml", "vision_icons.toml"])
def test_any_set_up_s_targets_may_be_judged_by_a_task(name: str) -> None:
    tables = example(name)
    own = tables["setup"].get("targets", {})
    own = {each: [each] for each in own} if isinstance(own, list) else own
    tables["setup"]["targets"] = own | {"quiz": {"task": "own.py:score", "metric": "right"}}
    assert not list(VALIDATOR.iter_errors(tables))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.header)
def test_every_key_says_what_it_means(table: ConfigTable) -> None:
    keys = keys_of(*table.options)
    assert keys
    for name, key in keys.items():
        assert key.meaning.endswith("."), f"{table.header} {name}: a line under `Attributes:`, which ends"
        assert f"| `{name}` |" in reference()


def test_a_missing_and_a_mistyped_key_are_one_line(tmp_path: Path) -> None:
    path, text = tmp_path / "c.toml", (ROOT / "examples" / "minimal.toml").read_text(encoding="utf-8")
    for old, new, said in (
        ('target = "tests"', "", r"\[run\]: `target` is missing: the target that the mixture is chosen for$"),
        (
            'target = "tests"',
            "target = 3",
            r"\[run\]: `target` must be text or a table of a number by name, got 3$",
        ),
        ('target = "tests"', 'target = "tests"\nseed = true', r"`seed` must be a whole number of at least 0"),
        (
            'target = "tests"',
            'target = "tests"\nfidelity = "a"',
            r"`fidelity` must be a list of text, got 'a'",
        ),
        ("[train]", "[train]\nclip_norm = -1", r"c\.toml \[train\]: clip_norm must be"),
    ):
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            load(path)
