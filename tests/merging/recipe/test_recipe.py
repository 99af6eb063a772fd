"""Recipes: what mergekit's YAML means here, and what is refused with a clear word."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import RecipeError
from m2m.merging.recipe.document import read_yaml
from m2m.merging.recipe.layers import Layer, find_layers
from m2m.merging.recipe.models import ModelRef
from m2m.merging.recipe.reader import load
from m2m.merging.recipe.tokens import TokenizerSetting

TIES = """
merge_method: ties
base_model: org/base@main
models:
  - model: org/base@main
  - model: a+adapter
    parameters:
      weight: 0.5
      density: [0.2, 1.0]
  - model: b
    parameters:
      weight:
        - {filter: mlp, value: [0.0, 1.0]}
        - 0.25
parameters:
  density: 0.5
  normalize: true
  lambda: 1e-1
dtype: torch.float32
out_dtype: bfloat16
tokenizer_source: base
"""


def linear(**changes: Any) -> dict[str, Any]:
    models = [{"model": name, "parameters": {"weight": 1.0}} for name in ("a", "b")]
    return {"merge_method": "linear", "models": models, **changes}


def with_token(token: object, setting: object) -> dict[str, object]:
    return linear(tokenizer={"tokens": {token: setting}})


def test_reads_mergekit_yaml(tmp_path: Path) -> None:
    path = tmp_path / "ties.yaml"
    path.write_text(TIES)
    recipe = load(path)
    assert (recipe.method, recipe.base) == ("ties", ModelRef("org/base", "main"))
    assert recipe.models == (ModelRef("a", None, "adapter"), ModelRef("b"))
    assert (recipe.dtype, recipe.out_dtype) == ("float32", "bfloat16")
    assert recipe.tokenizer == TokenizerSetting("base")
    assert recipe.donor == recipe.base
    assert recipe.parameter("lambda", None, "x") == 0.1
    assert load(recipe.to_dict()).hash == recipe.hash == load(path).hash


def test_precedence_gradients_and_filters(tmp_path: Path) -> None:
    path = tmp_path / "ties.yaml"
    path.write_text(TIES)
    recipe = load(path)
    middle = Layer(2, 5)
    assert recipe.parameter("density", 0, "layers.2.mlp", middle) == pytest.approx(0.6, abs=2**-52)
    assert recipe.parameter("density", 0, "norm") == 0.2
    assert recipe.parameter("density", 1, "norm") == 0.5
    assert recipe.parameter("weight", 1, "layers.4.mlp", Layer(4, 5)) == 1.0
    assert recipe.parameter("weight", 1, "layers.4.attn", Layer(4, 5)) == 0.25
    settings = recipe.settings("layers.0.mlp", Layer(0, 5))
    assert settings.numbers("weight") == [0.5, 0.0]
    assert settings.flag("rescale") is False


def test_a_slice_comes_before_the_whole() -> None:
    source = {"model": "a", "layer_range": [0, 2]}
    recipe = load(
        {
            "merge_method": "linear",
            "slices": [
                {"sources": [{**source, "parameters": {"weight": 3}}], "parameters": {"weight": 2}},
                {"sources": [source], "parameters": {"weight": 2}},
                {"sources": [source]},
            ],
            "parameters": {"weight": 1},
        }
    )
    assert [recipe.parameter("weight", 0, "x", None, i) for i in range(3)] == [3, 2, 1]


def test_slices_stack_layers() -> None:
    slices = [
        {"sources": [{"model": "a", "layer_range": [0, 2]}]},
        {"sources": [{"model": "b", "layer_range": [1, 3]}]},
    ]
    recipe = load({"merge_method": "passthrough", "slices": slices})
    names = ["embed.weight", "norm.weight", *(f"layers.{i}.{part}" for i in range(3) for part in "wv")]
    outputs = {tensor.name: tensor for tensor in recipe.outputs(names)}
    assert len(outputs) == 2 + 4 * 2
    assert (outputs["embed.weight"].slice_index, outputs["norm.weight"].slice_index) == (0, 1)
    assert [outputs[f"layers.{i}.w"].inputs for i in range(4)] == [
        ("layers.0.w",),
        ("layers.1.w",),
        ("layers.1.w",),
        ("layers.2.w",),
    ]
    assert outputs["layers.3.v"].layer == Layer(1, 2)
    slices[1]["sources"][0]["layer_range"] = [1, 4]  # type: ignore[index]
    with pytest.raises(RecipeError, match=r"slices\[1\] wants layer 3"):
        load({"merge_method": "passthrough", "slices": slices}).outputs(names)


def test_the_base_model_keeps_its_layer_range() -> None:
    sources = [{"model": "base", "layer_range": [4, 6]}, {"model": "a", "layer_range": [0, 2]}]
    recipe = load(
        {
            "merge_method": "slerp",
            "base_model": "base",
            "parameters": {"t": 0.5},
            "slices": [{"sources": sources}],
        }
    )
    assert recipe.slices[0].inputs == (ModelRef("base"), ModelRef("a"))
    assert recipe.slices[0].ranges == [(4, 6), (0, 2)]


def test_layers_are_counted_a_stack() -> None:
    layers = find_layers(["encoder.layers.0.w", "encoder.layers.1.w", "h.0.w", "lm_head.weight", "7.w"])
    assert layers == {
        "encoder.layers.0.w": Layer(0, 2),
        "encoder.layers.1.w": Layer(1, 2),
        "h.0.w": Layer(0, 1),
    }
    assert (Layer(0, 1).t, Layer(0, 2).t, Layer(1, 2).t) == (1.0, 0.0, 1.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.integers(1, 40), st.data())
def test_gradients_stay_between_their_neighbours(
    values: list[float], count: int, data: st.DataObject
) -> None:
    recipe = load(
        linear(parameters={"normalize": False})
        | {"models": [{"model": "a", "parameters": {"weight": values}}]}
    )
    index = data.draw(st.integers(0, count - 1))
    value = recipe.parameter("weight", 0, "x", Layer(index, count))
    scaled = Layer(index, count).t * (len(values) - 1)
    near = values[int(scaled) : int(scaled) + 2]
    # (1-r)·a + r·b, three roundings of terms no larger than the ends
    slack = 4 * 2.0**-53 * max(map(abs, near))
    assert isinstance(value, float)
    assert min(near) - slack <= value <= max(near) + slack
    ends = [recipe.parameter("weight", 0, "x", Layer(i, 2)) for i in (0, 1)]
    assert ends == [values[0], values[-1]]


NORMALIZE = {"normalize": True}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "top": (linear(out_dtpye="float32"), "out_dtpye is not a key.*did you mean 'out_dtype'"),
    "method": (linear(merge_method="liner"), "did you mean 'linear'"),
    "misspelt": (
        linear(models=[{"model": "a", "parameters": {"wieght": 1}}]),
        r"models\[0\]\.parameters\.wieght",
    ),
    "misspelt global": (
        linear(parameters={"normalise": True}),
        "parameters.normalise.*did you mean 'normalize'",
    ),
    "entry": (linear(models=[{"modle": "a"}]), r"models\[0\]\.modle.*did you mean 'model'"),
    "no model": (linear(models=[{"parameters": {"weight": 1}}]), r"models\[0\] names no model"),
    "no weight": (linear(models=[{"model": "a"}]), "no value for parameter weight of model a"),
    "too large to be summed": (
        linear(models=[{"model": "a", "parameters": {"weight": 1e308}}]),
        "must be at most 1e\\+150 in size",
    ),
    "infinite": (linear(models=[{"model": "a", "parameters": {"weight": float("inf")}}]), "must be finite"),
    "flag as number": (linear(models=[{"model": "a", "parameters": {"weight": True}}]), "must be a number"),
    "zero sum": (
        linear(models=[{"model": m, "parameters": {"weight": w}} for m, w in (("a", 1), ("b", -1))]),
        "cannot be normalised",
    ),
    "shared at a model": (
        linear(models=[{"model": "a", "parameters": {"weight": 1, "normalize": True}}]),
        "holds for all models",
    ),
    "no models": ({"merge_method": "linear"}, "exactly one of models, slices and modules"),
    "empty": (linear(models=[]), "at least one entry"),
    "models and modules": (linear(modules={"text": {}}), "exactly one of models, slices and modules"),
    "no modules": ({"merge_method": "linear", "modules": {}}, "at least one module"),
    "empty module": (
        {"merge_method": "linear", "modules": {"a": {}}},
        "modules.a: exactly one of models and slices",
    ),
    "module key": (
        {"merge_method": "linear", "modules": {"a": {"model": []}}},
        "modules.a.model is not a key of a merge recipe; did you mean 'models'",
    ),
    "module without base": (
        {"merge_method": "ties", "modules": {"a": {"models": [{"model": "x"}]}}},
        "modules.a: ties needs a base_model",
    ),
    "range of models": (
        {"merge_method": "linear", "models": [{"model": "a", "layer_range": [0, 1]}]},
        r"models\[0\].layer_range is not a key of a merge recipe; it is one of slices",
    ),
    "of moe": (linear(gate_mode="random"), "gate_mode is not a key .* mergekit-moe"),
    "architecture": (
        linear(base_model={"model": "a", "override_architecture": 3}),
        "base_model.override_architecture must name a class, got 3",
    ),
    "tokens": (with_token(3, {}), "tokenizer.tokens: 3 is no token; write it in quotes"),
    "a token's key": (with_token("x", {"sorce": "a"}), "did you mean 'source'"),
    "force": (with_token("x", {"force": True}), "tokens.x: force needs a source"),
    "forced": (with_token("x", {"source": "a", "force": 1}), "force must be true or false"),
    "kind": (with_token("x", {"source": {"kind": "mean"}}), "kind must be zero or model_token"),
    "which token": (
        with_token("x", {"source": {"kind": "model_token", "model": "a"}}),
        "must have one of token and token_id",
    ),
    "a token's id": (
        with_token("x", {"source": {"kind": "model_token", "model": "a", "token_id": -1}}),
        "token_id must be a whole number, 0 or more, got -1",
    ),
    "padding": (linear(tokenizer={"pad_to_multiple_of": 0}), "must be a whole number from 1 to"),
    "two tokenizers": (linear(tokenizer={"source": "a"}, tokenizer_source="a"), "exclude each other"),
    "base tokenizer": (linear(tokenizer_source="base"), "no base_model"),
    "dtype": (linear(dtype="int64"), "dtype must be one of"),
    "definition": (linear(m2m={"definition": "papre"}), "definition must be paper or mergekit"),
    "seed": (linear(m2m={"seed": -1}), "seed must be"),
    "extension": (linear(m2m={"sede": 1}), "did you mean 'seed'"),
    "plus": (linear(models=[{"model": "a+b+c", "parameters": {"weight": 1}}]), "more than one"),
    "at": (linear(models=[{"model": "a@", "parameters": {"weight": 1}}]), r"path\[@revision\]"),
    "unreachable": (linear(parameters={"weight": [1, {"filter": "x", "value": 2}]}), "never reached"),
    "filter key": (linear(parameters={"weight": [{"fliter": "x", "value": 2}]}), "did you mean 'filter'"),
    "needs base": ({**linear(), "merge_method": "ties"}, "ties needs a base_model"),
    "density": (
        {**linear(parameters={"density": 1.5}), "merge_method": "ties", "base_model": "c"},
        r"parameters\.density must be in \[0, 1\], got 1.5",
    ),
    "mixed signs": (
        {
            "merge_method": "ties",
            "base_model": "c",
            "models": [{"model": m, "parameters": {"weight": w}} for m, w in (("a", 1), ("b", -0.5))],
        },
        "both signs",
    ),
    "della range": (
        {**linear(parameters={"density": 0.95}), "merge_method": "della", "base_model": "c"},
        r"not within \[0, 1\]",
    ),
    "t": (
        {**linear(models=[{"model": "a"}], parameters={"t": 2}), "merge_method": "slerp", "base_model": "c"},
        "t must be",
    ),
    "too many": (
        {
            "merge_method": "slerp",
            "base_model": "c",
            "models": [{"model": "a"}, {"model": "b"}],
            "parameters": {"t": 0.5},
        },
        "slerp takes 1 models besides the base model, got 2",
    ),
    "too few": (
        {"merge_method": "model_stock", "base_model": "c", "models": [{"model": "a"}]},
        "takes 2 or more models",
    ),
    "residual": (
        {
            "merge_method": "passthrough",
            "slices": [{"sources": [{"model": "a", "layer_range": [0, 1]}], "residual_weight": "x"}],
        },
        "residual_weight must be a number, got 'x'",
    ),
    "range": (
        {"merge_method": "passthrough", "slices": [{"sources": [{"model": "a", "layer_range": [1, 1]}]}]},
        r"layer_range must be \[start, end\]",
    ),
    "unequal": (
        {
            "merge_method": "linear",
            "slices": [{"sources": [{"model": m, "layer_range": [0, n]} for m, n in (("a", 1), ("b", 2))]}],
        },
        "different numbers of layers",
    ),
    "base outside slice": (
        {
            "merge_method": "task_arithmetic",
            "base_model": "c",
            "slices": [{"sources": [{"model": "a", "layer_range": [0, 1]}]}],
        },
        "must be one of the sources",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refuses(name: str) -> None:
    data, message = CASES[name]
    with pytest.raises(RecipeError, match=message):
        load(data)


def test_nan_is_a_number_that_no_parameter_takes(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: .nan\n")
    assert math.isnan(read_yaml(path)["a"])


@pytest.mark.parametrize("text", ["1:30", "0b11", "1 000", "nan"])
def test_a_weight_that_is_no_number_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(TIES.replace("weight: 0.5", f"weight: {text}"))
    with pytest.raises(RecipeError, match=r"models\[1\].parameters.weight must be"):
        load(path)


@pytest.mark.parametrize(("text", "flag"), [("yes", True), ("On", True), ("no", False), ("OFF", False)])
def test_flags_mean_what_they_mean_to_mergekit(tmp_path: Path, text: str, flag: bool) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(TIES.replace("normalize: true", f"normalize: {text}"))
    assert load(path).parameter("normalize", None, "x") is flag


def test_says_what_has_no_effect() -> None:
    recipe = load(
        {
            "merge_method": "task_arithmetic",
            "base_model": "c",
            "models": [
                {"model": "c", "parameters": {"weight": 1}},
                {"model": "a", "parameters": {"weight": 1, "density": 0.5}},
            ],
            "parameters": {"int8_mask": True},
        }
    )
    assert [note.split(" has")[0].split(" have")[0] for note in recipe.notes] == [
        "models[1].parameters.density",
        "models: parameters of the base model c",
        "parameters.int8_mask",
    ]


def test_the_hash_follows_the_content() -> None:
    assert load(linear()).hash == load(dict(reversed(linear().items()))).hash
    assert load(linear()).hash != load(linear(dtype="float32")).hash


def test_reading_a_recipe_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    path = tmp_path / "ties.yaml"
    path.write_text(TIES)
    code = (
        "import sys; from m2m.merging.recipe.reader import load; load(sys.argv[1]).settings('x');"
        "sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0
