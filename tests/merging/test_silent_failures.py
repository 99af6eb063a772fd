"""What goes wrong elsewhere without a word, or with one that names nothing: refused or defined here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.merge_cases import State, make_recipe, make_states, write_models

from m2m.checkpoint import Checkpoint, save, verify
from m2m.errors import CheckpointError, RecipeError, RunFolderError
from m2m.merging import merge
from m2m.merging.recipe.reader import load

EACH = {"weight": [0.5, 0.25]}
SHAPES = {"model.embed_tokens.weight": (12, 6), "model.layers.0.w": (40, 30), "lm_head.weight": (12, 6)}


@pytest.fixture
def states() -> list[State]:
    return make_states(SHAPES, 2, [torch.float32], 11)


def recipe(paths: list[str], method: str = "linear", **more: Any) -> dict[str, Any]:
    return make_recipe(method, paths, base=True, shared=more.pop("shared", {}), each=EACH, **more)


def assert_refused(
    states: list[State], folder: Path, error: type[Exception], match: str, **more: Any
) -> None:
    paths = write_models(states, folder)
    with pytest.raises(error, match=match):
        merge(recipe(paths, **more), folder / "out")
    assert sorted(path.name for path in folder.iterdir()) == [f"m{i}" for i in range(len(states))]


def test_embeddings_of_another_vocabulary(tmp_path: Path, states: list[State]) -> None:
    states[2]["model.embed_tokens.weight"] = torch.zeros(13, 6)
    assert_refused(
        states, tmp_path, CheckpointError, r"m2: .*embed_tokens.* has shape \[13, 6\], wanted \[12, 6\]"
    )


def test_another_shape_is_found_before_a_shard_is_written(tmp_path: Path, states: list[State]) -> None:
    states[1]["model.layers.0.w"] = torch.zeros(30, 40)
    assert_refused(states, tmp_path, CheckpointError, r"m1: tensor 'model.layers.0.w' has shape \[30, 40\]")


def test_a_missing_head_is_not_replaced_by_the_embedding(tmp_path: Path, states: list[State]) -> None:
    del states[2]["lm_head.weight"]
    assert_refused(states, tmp_path, CheckpointError, "m2: lacks .*'lm_head.weight'")


def test_a_tensor_too_many_is_not_dropped(tmp_path: Path, states: list[State]) -> None:
    states[1]["model.layers.0.extra"] = torch.ones(3)
    assert_refused(states, tmp_path, CheckpointError, "m1: has more than .*'model.layers.0.extra'")


def test_mixed_types_keep_the_type_the_config_says(tmp_path: Path, states: list[State]) -> None:
    states[1] = {name: t.half() if t.is_floating_point() else t for name, t in states[1].items()}
    states[0], states[2] = (
        {name: t.bfloat16() if t.is_floating_point() else t for name, t in state.items()}
        for state in (states[0], states[2])
    )
    paths = write_models(states, tmp_path)
    Path(paths[0], "config.json").write_text(json.dumps({"torch_dtype": "bfloat16"}))
    merge(recipe(paths), tmp_path / "out")
    assert {info.dtype for info in Checkpoint(tmp_path / "out").tensors.values()} == {"BF16", "I64"}
    assert json.loads((tmp_path / "out" / "config.json").read_bytes()) == {"torch_dtype": "bfloat16"}


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "multislerp", "nuslerp"])
@pytest.mark.parametrize("bad", [float("nan"), -float("inf")])
def test_bad_values_do_not_pass(tmp_path: Path, states: list[State], bad: float, method: str) -> None:
    states[1]["model.layers.0.w"][1, 3] = bad
    assert_refused(states, tmp_path, CheckpointError, "m1/.*NaN or infinite at index 33", method=method)


def test_weights_that_cancel_are_not_normalised(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    with pytest.raises(RecipeError, match="sum to 0, so they cannot be normalised"):
        merge(
            make_recipe(
                "linear", paths, base=False, shared={"normalize": True}, each={"weight": [1.0, -1.0]}
            ),
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_eight_bit_floats_are_not_cast_without_scales(tmp_path: Path, states: list[State]) -> None:
    for state in states:
        state["model.layers.0.w"] = state["model.layers.0.w"].to(torch.float8_e4m3fn)
        state["model.layers.0.w_scale_inv"] = torch.ones(1)
    assert_refused(
        states, tmp_path, CheckpointError, "'model.layers.0.w' is F8_E4M3.* scales", dtype="bfloat16"
    )


def test_integers_that_differ_are_not_averaged(tmp_path: Path, states: list[State]) -> None:
    states[2]["ids"] = states[2]["ids"] + 1
    assert_refused(states, tmp_path, CheckpointError, r"m2/.*'ids' \(I64\) differs")


@pytest.mark.parametrize("keep", [0, 7, 100, 3000])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, states: list[State], keep: int) -> None:
    paths = write_models(states, tmp_path)
    os.truncate(Path(paths[1], "model.safetensors"), keep)
    with pytest.raises(CheckpointError, match=r"m1/model\.safetensors: "):
        merge(recipe(paths), tmp_path / "out")


@pytest.mark.parametrize("damage", ["missing", "wrong"])
def test_an_index_that_lies_is_named(tmp_path: Path, states: list[State], damage: str) -> None:
    paths = write_models(states, tmp_path, shard_size=1000)
    index = Path(paths[2], "model.safetensors.index.json")
    content = json.loads(index.read_bytes())
    shards = sorted(set(content["weight_map"].values()))
    content["weight_map"]["lm_head.weight"] = "none.safetensors" if damage == "missing" else shards[0]
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"m2.*(none\.safetensors|the index says)"):
        merge(recipe(paths), tmp_path / "out")


def test_no_config_is_needed_and_no_folder_is_said(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    merge(recipe(paths), tmp_path / "out")
    with pytest.raises(CheckpointError, match="nowhere: no such file or folder"):
        merge(recipe([*paths[:2], str(tmp_path / "nowhere")]), tmp_path / "other")


def test_a_model_may_be_listed_twice(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states[:2], tmp_path)
    merge(recipe([*paths, paths[1]]), tmp_path / "out")
    got = Checkpoint(tmp_path / "out").read("model.layers.0.w")
    torch.testing.assert_close(got, states[1]["model.layers.0.w"])


@pytest.mark.parametrize("key", ["out_dtpye", "tokenizer_sorce", "chat_templte"])
def test_misspelt_keys(tmp_path: Path, states: list[State], key: str) -> None:
    assert_refused(states, tmp_path, RecipeError, f"{key} is not a key .* did you mean", **{key: "float32"})


def test_misspelt_parameters(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    bad = recipe(paths)
    bad["models"][0]["parameters"] = {"wieght": 1}
    with pytest.raises(
        RecipeError, match=r"models\[0\]\.parameters\.wieght is not a key .* did you mean 'weight'"
    ):
        merge(bad, tmp_path / "out")


@pytest.mark.parametrize("density", [1.5, -0.5])
def test_density_out_of_range(tmp_path: Path, states: list[State], density: float) -> None:
    paths = write_models(states, tmp_path)
    each = EACH | {"density": [density, 0.5]}
    with pytest.raises(RecipeError, match=r"density must be in \[0, 1\]"):
        merge(make_recipe("ties", paths, base=True, shared={}, each=each), tmp_path / "out")


def test_a_stale_output_folder_is_not_written_into(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    merge(recipe(paths), tmp_path / "out", shard_size=2000)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(RunFolderError, match="exists already"):
        merge(recipe(paths, method="task_arithmetic"), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_donor_does_not_depend_on_the_hash_seed(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    for path in paths:
        Path(path, "config.json").write_text(json.dumps({"name": Path(path).name}))
    plan = tmp_path / "recipe.yml"
    plan.write_text(json.dumps(make_recipe("linear", paths, base=False, shared={}, each=EACH)))
    code = "import sys, m2m.merging\nm2m.merging.merge(sys.argv[1], sys.argv[2])"
    for seed in ("1", "2", "3"):
        out = tmp_path / f"out{seed}"
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(plan), str(out)], check=True, env=environment)
        assert json.loads((out / "config.json").read_bytes()) == {"name": "m1"}


def test_draws_depend_on_the_recipe_not_on_the_order_of_the_work(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    drawn = make_recipe("dare_linear", paths, base=True, shared={}, each=EACH | {"density": [0.5, 0.5]})
    merge(drawn, tmp_path / "one", threads=1)
    merge(drawn, tmp_path / "four", threads=4, shard_size=1000)
    one, four = Checkpoint(tmp_path / "one").state(), Checkpoint(tmp_path / "four").state()
    assert all(torch.equal(one[name], four[name]) for name in one)
    merge(drawn | {"m2m": {"seed": 1}}, tmp_path / "other")
    assert not torch.equal(Checkpoint(tmp_path / "other").read("model.layers.0.w"), one["model.layers.0.w"])


def test_a_killed_merge_does_not_look_complete(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)

    def kill(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe(paths), tmp_path / "out", progress=kill)
    with pytest.raises(CheckpointError, match="no such"):
        Checkpoint(tmp_path / "out")
    merge(recipe(paths), tmp_path / "out", resume=True)
    assert verify(tmp_path / "out").folders == 1


def test_parameters_without_effect_are_told(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    with_base = make_recipe("task_arithmetic", paths, base=True, shared={"int8_mask": True}, each=EACH)
    with_base["models"].append({"model": paths[0], "parameters": {"weight": 1.0}})
    notes = " ".join(load(with_base).notes)
    assert "int8_mask has no effect" in notes
    assert f"parameters of the base model {paths[0]} have no effect" in notes


def test_the_card_says_recipe_and_hashes(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    merge(recipe(paths), tmp_path / "out", candidates={"a": (1.0, 0.0)})
    card = (tmp_path / "out" / "a" / "README.md").read_text()
    manifest = json.loads((tmp_path / "out" / "a" / "manifest.json").read_bytes())
    assert manifest["files"]["model.safetensors"]["sha256"] in card
    assert "merge_method: linear" in card
    assert f"| {paths[1]} | 1.0 |" in card


def test_pickled_weights_are_read_without_running_code(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states[:2], tmp_path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    torch.save(states[2], pickled / "pytorch_model.bin")
    merge(recipe([*paths, str(pickled)]), tmp_path / "out")
    merge(recipe([*paths, str(save(states[2], tmp_path / "safe"))]), tmp_path / "same")
    same, out = Checkpoint(tmp_path / "same").state(), Checkpoint(tmp_path / "out").state()
    assert all(torch.equal(out[name], same[name]) for name in same)


def test_a_configuration_that_ties_two_tensors_which_differ(states: list[State], tmp_path: Path) -> None:
    # transformers 4 loads one of them, 5 both: the merged model would be two models.
    paths = write_models(states, tmp_path)
    Path(paths[1], "config.json").write_text('{"tie_word_embeddings": true}')
    with pytest.raises(CheckpointError, match=r"config.json ties the output head to the embedding"):
        merge(recipe(paths), tmp_path / "out")
    assert not (tmp_path / "out").exists()
