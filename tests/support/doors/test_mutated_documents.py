"""A valid recipe, configuration or result with anything changed anywhere: it works, or is one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m2m import setups
from m2m.checkpoint.manifest import read_manifest
from m2m.errors import InputError
from m2m.exporting.read import read_mixture
from m2m.merging.recipe.reader import load
from m2m.pipeline import config
from m2m.pipeline.report import write_report
from m2m.verbs.search.objective import read_prior
from m2m.verbs.search.source import Source
from tests.helpers.json_mutations import mutate_json
from tests.pipeline.report.test_report import results

MUCH = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

RECIPES: list[dict[str, Any]] = [
    {
        "merge_method": "ties", "base_model": "base", "dtype": "bfloat16", "tokenizer_source": "base",
        "models": [
            {"model": "a", "parameters": {"weight": 0.5, "density": [0.1, 0.9]}},
            {"model": {"model": {"path": "b", "revision": "c"}, "lora": "d"},
             "parameters": {"weight": [{"filter": "mlp", "value": [0.1, 0.5]}, {"value": 0.3}]}},
        ],
        "parameters": {"normalize": True}, "m2m": {"seed": 3, "definition": "paper"},
    },
    {
        "merge_method": "slerp", "base_model": "base", "parameters": {"t": 0.5},
        "slices": [{"sources": [{"model": "base", "layer_range": [0, 2]},
                                {"model": "b", "layer_range": [0, 2]}],
                    "parameters": {"t": [0, 1]}}],
        "chat_template": "{{ x }}", "out_dtype": "float32",
    },
]  # fmt: skip

RUN: dict[str, Any] = {
    "run": {"target": "t", "fidelity": ["t"], "validate": True, "truth_seeds": 2, "seed": 0},
    "train": {"steps": 2, "batch": 2, "learning_rate": 0.01, "betas": [0.9, 0.99], "optimizer": "adamw"},
    "setup": {
        "kind": "language", "model": "byte-gpt",
        "base": {"layers": 1, "width": 8, "heads": 2, "context": 8, "text": {"x": {"files": "text.jsonl"}}},
        "datasets": {"a": {"files": "*.jsonl", "read": "jsonl", "drop": ["z+"], "share": [0.0, 1.0]},
                     "b": {"files": ["text.jsonl"], "limit": 3}},
        "targets": {"t": {"dataset": "a", "validation": 2, "test": 2}},
    },
    "mix": {"seeds": 8, "caps": {"a": 0.9}, "priors": [{"a": 0.5, "b": 0.5}], "pick": "best", "grid": 4},
}  # fmt: skip

CURVATURE = {
    "datasets": ["a", "b"],
    "quadratic": {"target": "t", "constant": 1.0, "slope": [0.1, 0.2], "curvature": [[1.0, 0.1], [0.1, 2.0]]},
}


def toml(value: Any) -> str:
    """Write a value as TOML, as far as TOML has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return "[]" if value is None else repr(value)


def mutated(document: Any, data: st.DataObject) -> Any:
    changed = copy.deepcopy(document)
    for _ in range(data.draw(st.sampled_from([1, 1, 2, 3]))):
        mutate_json(changed, data)
    return changed


def works_or_is_one_line(use: Any) -> None:
    try:
        use()
    except InputError as error:
        said = str(error)
    else:
        said = "it works"
    assert said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["merge_method"])
@MUCH
@given(data=st.data())
def test_recipes(recipe: dict[str, Any], tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "recipe.yml"
    path.write_text(json.dumps(mutated(recipe, data)), encoding="utf-8")
    works_or_is_one_line(lambda: load(path))


@MUCH
@given(data=st.data())
def test_run_configurations_and_their_set_up(tmp_path: Path, data: st.DataObject) -> None:
    lines = [json.dumps({"text": f"document {number} of several"}) for number in range(30)]
    (tmp_path / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
    path, content = tmp_path / "run.toml", mutated(RUN, data)
    text = "\n".join(f"{toml(str(key))} = {toml(value)}" for key, value in content.items())
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    def use() -> None:
        loaded = config.load(path)
        setups.load(loaded.setup, loaded.root, tmp_path / "cache")

    works_or_is_one_line(use)


@MUCH
@given(data=st.data())
def test_results(tmp_path: Path, data: st.DataObject) -> None:
    content = results()
    content["recipe"]["sampling"] = "balanced"
    (tmp_path / "results.json").write_text(json.dumps(mutated(content, data)), encoding="utf-8")
    works_or_is_one_line(lambda: write_report(tmp_path))
    works_or_is_one_line(lambda: read_mixture(str(tmp_path)))


def test_a_model_of_the_test_table_that_no_run_has(tmp_path: Path) -> None:
    content = results()
    content["test"]["seed"] = 1.5  # another entry of the results, and no list of datasets
    (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    write_report(tmp_path)


@MUCH
@given(data=st.data())
def test_mixtures_priors_and_manifests(tmp_path: Path, data: st.DataObject) -> None:
    source = Source(["a", "b"], {"t": False}, {"t": "loss"}, lambda _: {}, lambda *_: None, {"t": 4})  # type: ignore[arg-type, return-value]
    path = tmp_path / "manifest.json"
    for document, use in (
        ({"a": 0.5, "b": 0.5}, lambda: read_mixture(str(path))),
        ({"datasets": ["a", "b"], "weights": [0.5, 0.5]}, lambda: read_mixture(str(path))),
        (CURVATURE, lambda: read_prior(path, source, ["t"])),
        ({"files": {"a": {"bytes": 1, "sha256": "x"}}, "m2m": "1"}, lambda: read_manifest(tmp_path)),
    ):
        path.write_text(json.dumps(mutated(document, data)), encoding="utf-8")
        works_or_is_one_line(use)
