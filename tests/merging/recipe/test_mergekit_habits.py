"""What mergekit's recipes hold besides what their method asks for: ignored with a note, as there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from m2m.checkpoint import Checkpoint, save
from m2m.errors import RecipeError
from m2m.merging import merge
from m2m.merging.recipe.reader import load

STATES = (
    {"a": torch.tensor([1.0, 2.0]), "b": torch.ones(2)},
    {"a": torch.tensor([2.0, 1.0]), "b": torch.ones(2)},
)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return [str(save(state, tmp_path / name)) for state, name in zip(STATES, "xy", strict=True)]


@pytest.mark.parametrize(
    ("method", "shared"),
    [
        ("slerp", {"t": 0.5}),
        ("model_stock", {}),
        ("karcher", {}),
        ("sce", {"select_topk": 0.5}),
        ("nearswap", {"t": 1}),
    ],
)
def test_a_parameter_that_the_method_ignores_is_a_note(
    folders: list[str], method: str, shared: dict[str, float]
) -> None:
    models = [{"model": folders[1], "parameters": {"weight": 0.3}}] * (
        1 if method in ("slerp", "nearswap") else 3
    )
    recipe = {"merge_method": method, "base_model": folders[0], "models": models, "parameters": shared}
    notes = load(recipe).notes
    ignored = [note for note in notes if note.endswith(f"parameters.weight has no effect on {method}")]
    assert len(ignored) == (
        0 if any(p.name == "weight" for p in load(recipe).rule.parameters) else len(models)
    )


def test_a_parameter_that_no_method_has_is_refused(folders: list[str]) -> None:
    models = [{"model": folders[1], "parameters": {"wieght": 0.3}}]
    recipe = {"merge_method": "slerp", "base_model": folders[0], "models": models, "parameters": {"t": 0.5}}
    with pytest.raises(RecipeError, match=r"models\[0\].parameters.wieght .* did you mean 'weight'"):
        load(recipe)
    models[0]["parameters"] = {"zzz": 0.3}
    with pytest.raises(RecipeError, match=r"parameters.zzz .* known here: t$"):
        load(recipe)


def test_keys_that_hold_anchors_may_stand_beside_the_recipe(tmp_path: Path, folders: list[str]) -> None:
    text = """
    shared: {{nested: [&half 0.5]}}
    x-anything: {{a: 1}}
    merge_method: linear
    models:
      - {{model: {0}, parameters: {{weight: *half}}}}
      - {{model: {1}, parameters: {{weight: *half}}}}
    """
    path = tmp_path / "recipe.yml"
    path.write_text(text.format(*folders))
    merge(path, tmp_path / "out")
    assert Checkpoint(tmp_path / "out").read("a").tolist() == [1.5, 1.5]
    path.write_text(text.format(*folders).replace("&half ", "").replace("*half", "0.5"))
    with pytest.raises(RecipeError, match="shared is not a key of a merge recipe"):
        load(path)


def test_a_scale_of_zero_and_weights_that_cancel_mean_what_they_mean_in_mergekit(
    tmp_path: Path, folders: list[str]
) -> None:
    scale = [{"filter": "a", "value": 0}, {"value": 1}]
    merge(
        {"merge_method": "passthrough", "models": [{"model": folders[0], "parameters": {"scale": scale}}]},
        tmp_path / "zero",
    )
    state = Checkpoint(tmp_path / "zero").state()
    assert state["a"].tolist() == [0.0, 0.0]
    assert torch.equal(state["b"], STATES[0]["b"])
    for number, weights in enumerate(((-0.5, 0.5), (1.0, 1.0))):
        models = [
            {"model": folder, "parameters": {"weight": weight}}
            for folder, weight in zip(folders, weights, strict=True)
        ]
        merge({"merge_method": "nuslerp", "models": models}, tmp_path / f"half{number}")
    half, same = (Checkpoint(tmp_path / f"half{number}").state() for number in range(2))
    assert all(torch.equal(half[name], same[name]) for name in half)


def test_several_recipes_in_one_file_are_called_so(tmp_path: Path) -> None:
    one = "merge_method: linear\nmodels: [{model: x, parameters: {weight: 1}}]\n"
    path = tmp_path / "multi.yml"
    path.write_text(f"name: first\n{one}---\n{one}")
    with pytest.raises(RecipeError, match=r"multi.yml: holds several documents .*: write one recipe a file"):
        load(path)
    path.write_text(f"---\n{one}...\n")
    assert load(path).method == "linear"
