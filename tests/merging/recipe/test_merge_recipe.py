"""`merge` from a recipe: weights resolved per tensor, candidates in one pass, the right files beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.vocabularies import write_words

import m2m
from m2m import weighted_sum
from m2m.checkpoint import Checkpoint, save, verify
from m2m.errors import CheckpointError, RecipeError
from m2m.merging import merge, methods
from m2m.merging.methods import settings_of
from m2m.merging.methods.spec import Inputs
from m2m.merging.plan.resolve import expert_names
from m2m.merging.recipe.reader import load

LAYERS = 3


def make_state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = [
        "model.embed_tokens.weight",
        *(f"model.layers.{i}.w" for i in range(LAYERS)),
        "model.norm.weight",
    ]
    return {name: torch.randn(30, 7, generator=generator).bfloat16() for name in names}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, name in enumerate(["base", "code", "math"]):
        path = save(make_state(seed), tmp_path / name)
        config = {"num_hidden_layers": LAYERS, "torch_dtype": "bfloat16", "name": name}
        (path / "config.json").write_text(json.dumps(config))
        write_words(path, {f"{name if number > 20 else 'w'}{number}": number for number in range(30)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def states(*names: str) -> list[dict[str, torch.Tensor]]:
    return [Checkpoint(name).state() for name in names]


def recipe(method: str, **changes: object) -> dict[str, object]:
    models = [
        {"model": name, "parameters": {"weight": weight}} for name, weight in (("code", 0.5), ("math", 0.25))
    ]
    return {"merge_method": method, "base_model": "base", "models": models, **changes}


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
def test_a_streamed_recipe_is_its_reference_twin(folder: Path, method: str) -> None:
    merge(recipe(method), folder / "out")
    base, code, math = states("base", "code", "math")
    rule = methods.get(method)
    settings = settings_of(rule, 2, weight=[0.5, 0.25])
    for name, tensor in Checkpoint(folder / "out").state().items():
        inputs = Inputs([code[name], math[name]], base[name] if rule.base == "required" else None)
        assert torch.equal(tensor, rule.reference(inputs, settings, torch.bfloat16)), name


def test_the_base_model_is_the_donor_and_the_recipe_travels(folder: Path) -> None:
    merge(recipe("task_arithmetic"), folder / "out")
    config = json.loads((folder / "out" / "config.json").read_bytes())
    assert config == {"num_hidden_layers": LAYERS, "torch_dtype": "bfloat16", "name": "base"}
    assert json.loads(Checkpoint("out").metadata["m2m.recipe"]) == recipe("task_arithmetic")
    merge(recipe("linear", base_model=None, tokenizer_source="math"), folder / "no_base")
    assert json.loads((folder / "no_base" / "config.json").read_bytes())["name"] == "code"
    written, theirs = (folder / name / "tokenizer.json" for name in ("no_base", "math"))
    assert written.read_bytes() == theirs.read_bytes()


def test_config_says_the_type_that_was_written(folder: Path) -> None:
    merge(recipe("linear", dtype="float32", out_dtype="float16"), folder / "out", verify=True)
    assert json.loads((folder / "out" / "config.json").read_bytes())["torch_dtype"] == "float16"
    assert {info.dtype for info in Checkpoint("out").tensors.values()} == {"F16"}
    merge(recipe("linear", out_dtype="float16"), folder / "asked", dtype="float32")
    assert {info.dtype for info in Checkpoint("asked").tensors.values()} == {"F32"}


def test_gradients_and_filters_reach_their_tensors(folder: Path) -> None:
    weights = [{"filter": "embed", "value": 0.0}, {"value": [1.0, 0.0]}]
    models = [
        {"model": "code", "parameters": {"weight": weights}},
        {"model": "math", "parameters": {"weight": 1.0}},
    ]
    merge(recipe("linear", models=models, parameters={"normalize": False}), folder / "out")
    (out, code, math) = states("out", "code", "math")
    for name, weight in (
        ("embed_tokens.weight", 0.0),
        ("layers.1.w", 0.5),
        ("layers.2.w", 0.0),
        ("norm.weight", 1.0),
    ):
        pair = [code[f"model.{name}"], math[f"model.{name}"]]
        want = weighted_sum(pair, torch.tensor([[weight, 1.0]], dtype=torch.float64))[0]
        assert torch.equal(out[f"model.{name}"], want), name


def test_slices_stack_layers_and_the_config_counts_them(folder: Path) -> None:
    slices = [
        {"sources": [{"model": "code", "layer_range": [0, 2]}]},
        {"sources": [{"model": "math", "layer_range": [0, 3]}]},
    ]
    merge({"merge_method": "passthrough", "slices": slices}, folder / "out")
    out, code, math = states("out", "code", "math")
    for i, (source, layer) in enumerate([(code, 0), (code, 1), (math, 0), (math, 1), (math, 2)]):
        assert torch.equal(out[f"model.layers.{i}.w"], source[f"model.layers.{layer}.w"])
    assert torch.equal(out["model.embed_tokens.weight"], code["model.embed_tokens.weight"])
    assert torch.equal(out["model.norm.weight"], math["model.norm.weight"])
    assert json.loads((folder / "out" / "config.json").read_bytes())["num_hidden_layers"] == 5


def test_slices_do_not_mix_floats_with_integers(folder: Path) -> None:
    state = make_state(1) | {"model.layers.1.w": torch.zeros(30, 7, dtype=torch.int64)}
    save(state, folder / "counts")
    sources = [{"model": name, "layer_range": [0, 3]} for name in ("code", "counts")]
    for source in sources:
        source["parameters"] = {"weight": 0.5}
    with pytest.raises(CheckpointError, match=r"counts: tensor 'model.layers.1.w' is I64, wanted BF16"):
        merge({"merge_method": "linear", "slices": [{"sources": sources}]}, folder / "out")


def test_a_run_s_experts_are_columns_by_the_folders_that_tell_them_apart() -> None:
    models = [
        {"model": f"run/experts/{name}/seed0", "parameters": {"weight": 1.0}} for name in ("cpp", "law")
    ]
    assert expert_names(load({"merge_method": "linear", "models": models})) == ("cpp", "law")


def test_candidates_are_what_separate_merges_would_be(folder: Path) -> None:
    table = {"a": (1.0, 0.0), "b": (0.3, 0.3), "c": (-1.0, 3.0)}
    parsed = load(recipe("task_arithmetic"))
    assert expert_names(parsed) == ("code", "math")
    report = merge(parsed, folder / "out", candidates=table, shard_size="2kB")
    one_read = 3 * sum(info.nbytes for info in Checkpoint("base").tensors.values())
    assert (report.read_bytes, report.written_bytes) == (one_read, one_read)
    assert verify(folder / "out").folders == 3
    for name, row in table.items():
        models = [
            {"model": m, "parameters": {"weight": w}} for m, w in zip(("code", "math"), row, strict=True)
        ]
        merge(recipe("task_arithmetic", models=models), folder / f"alone_{name}")
        alone, together = states(f"alone_{name}", f"out/{name}")
        assert all(torch.equal(together[key], alone[key]) for key in alone)


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", ".hidden", "a\0b", "a\n", "x" * 250])
def test_candidates_cannot_leave_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="candidate name"):
        merge(recipe("linear"), folder / "out", candidates={name: (1.0, 1.0)})
    assert not (folder / "out").exists()


def test_candidates_of_one_folder_on_some_machines_are_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="case or Unicode form"):
        merge(recipe("linear"), folder / "out", candidates={"half": (0.5, 0.5), "Half": (0.25, 0.75)})


def test_weights_of_candidates_that_cannot_be_summed_are_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"candidate 'x': weights must be at most 1e\+150 in size"):
        merge(recipe("linear"), folder / "out", candidates={"x": (1e308, 1e308)})
    assert not (folder / "out").exists()


def test_merging_imports_neither_torch_nor_numpy(folder: Path) -> None:
    models = [{"model": str(folder / name), "parameters": {"weight": 0.5}} for name in ("code", "math")]
    (folder / "r.yml").write_text(json.dumps({"merge_method": "linear", "models": models}))
    code = """
import sys, m2m.merging
m2m.merging.merge(sys.argv[1], sys.argv[2])
print({"torch", "numpy"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code, str(folder / "r.yml"), str(folder / "out")]
    home = Path(m2m.__file__).parents[1]
    child = subprocess.run(command, capture_output=True, text=True, check=True, cwd=home)
    assert child.stdout.strip() == "set()"
