"""Options that save memory or time, and states saved on the way: what they change, and that it is no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.byte_setup import byte_setup
from helpers.killed import Killed
from helpers.language_runs import write_language_run
from helpers.linear_setup import LinearModel, LinearSetup, linear_setup
from torch import Tensor, nn

from m2m.errors import ConfigError, DataError
from m2m.mixture import Mixture
from m2m.pipeline.steps import load_setup
from m2m.setups.protocol import Setup
from m2m.training import SavedTraining, Trained, TrainRecipe, curve_text, train

RECIPE = TrainRecipe(steps=9, batch=6, learning_rate=0.02, schedule="cosine", warmup=2, clip_norm=0.5)
PAIR = Mixture.subset("abc", "ab")


class DroppingModel(LinearModel):
    """Draws random numbers at every step."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.3, self.training))


class DroppingSetup(LinearSetup):
    def build(self) -> nn.Module:
        return DroppingModel(self.width)


@pytest.fixture
def setup() -> LinearSetup:
    return DroppingSetup(linear_setup(seed=3, examples=7).datasets)


def trained(setup: Setup, recipe: TrainRecipe, saved: SavedTraining | None = None, **more: object) -> Trained:
    return train(setup, setup.base_state(Path()), PAIR, recipe, 5, saved=saved, **more)  # type: ignore[arg-type]


def test_gradients_of_parts_add_up_to_the_batchs() -> None:
    setup = linear_setup(seed=3, examples=7)
    whole = trained(setup, RECIPE)
    for size in (1, 4, 6, 100):
        parts = trained(setup, replace(RECIPE, micro_batch=size))
        # float64 roundings of sums of six terms over nine steps.
        torch.testing.assert_close(parts.state["theta"], whole.state["theta"], rtol=1e-10, atol=1e-12)
        assert [loss for _, loss, _ in parts.curve] == pytest.approx([loss for _, loss, _ in whole.curve])
    same = trained(setup, replace(RECIPE, micro_batch=6))
    assert torch.equal(same.state["theta"], whole.state["theta"]), "one part is the batch, to the bit"


def test_the_curve_has_every_step(setup: LinearSetup) -> None:
    found = trained(setup, RECIPE)
    assert [step for step, _, _ in found.curve] == [*range(1, 10)]
    assert [rate for _, _, rate in found.curve] == [RECIPE.learning_rate_at(step, 9) for step in range(9)]
    lines = curve_text(found.curve).splitlines()
    assert lines[0] == "step,loss,learning_rate"
    assert [float(line.split(",")[1]) for line in lines[1:]] == [loss for _, loss, _ in found.curve]


def test_bfloat16_computes_in_it_and_keeps_float32() -> None:
    setup = byte_setup()
    recipe = replace(RECIPE, steps=3)
    plain, half = trained(setup, recipe), trained(setup, replace(recipe, dtype="bfloat16"))
    assert {tensor.dtype for tensor in half.state.values()} == {torch.float32}
    name = "blocks.0.mlp_in.weight"
    base = setup.base_state(Path())[name]
    assert not torch.equal(half.state[name], plain.state[name])
    assert not torch.equal(half.state[name], half.state[name].bfloat16().float()), "weights are not rounded"
    cosine = nn.functional.cosine_similarity(
        (half.state[name] - base).flatten(), (plain.state[name] - base).flatten(), dim=0
    )
    assert cosine > 0.9


def kill_at(step: int) -> object:
    def progress(done: int, total: int, what: str) -> None:
        if done == step:
            raise Killed

    return progress


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("killed_at", [1, 4, 5, 8])
def test_a_killed_training_goes_on_at_its_last_save_and_ends_in_the_same_bits(
    optimizer: str, killed_at: int, setup: LinearSetup, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, momentum=0.5 * (optimizer == "sgd"), save_every=2)
    whole = trained(setup, replace(recipe, save_every=None))
    saved = SavedTraining(tmp_path / "a" / "state", "key")
    with pytest.raises(Killed):
        trained(setup, recipe, saved, progress=kill_at(killed_at))
    steps: list[int] = []
    again = trained(setup, recipe, saved, progress=lambda done, total, what: steps.append(done))
    assert steps == [*range(killed_at // 2 * 2 + 1, 10)]
    assert torch.equal(again.state["theta"], whole.state["theta"])
    assert again.curve == whole.curve
    saved.remove()
    assert not saved.path.exists()


def test_a_killed_lora_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs the extra `lora`")
    setup, saved = byte_setup(), SavedTraining(tmp_path / "state", "key")
    recipe = replace(RECIPE, adapter="lora", save_every=3)
    with pytest.raises(Killed):
        trained(setup, recipe, saved, progress=kill_at(5))
    again, whole = trained(setup, recipe, saved), trained(setup, replace(recipe, save_every=None))
    assert all(torch.equal(again.state[name], whole.state[name]) for name in whole.state)


def test_the_state_of_another_training_is_not_taken(setup: LinearSetup, tmp_path: Path) -> None:
    recipe = replace(RECIPE, save_every=2)
    with pytest.raises(Killed):
        trained(setup, recipe, SavedTraining(tmp_path / "state", "one"), progress=kill_at(4))
    steps: list[int] = []
    other = SavedTraining(tmp_path / "state", "another")
    trained(setup, recipe, other, progress=lambda done, total, what: steps.append(done))
    assert steps == [*range(1, 10)]


def test_a_damaged_state_is_named(setup: LinearSetup, tmp_path: Path) -> None:
    saved = SavedTraining(tmp_path / "state", "one")
    with pytest.raises(Killed):
        trained(setup, replace(RECIPE, save_every=2), saved, progress=kill_at(4))
    data = bytearray(saved.path.read_bytes())
    data[len(data) // 2] ^= 255
    saved.path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"state is not a training's saved state \(delete it: it begins anew\)"
    ):
        trained(setup, RECIPE, saved)


def test_activations_that_are_computed_again_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    setup = load_setup(write_language_run(tmp_path), None).setup
    names = tuple(setup.datasets)
    recipe = replace(RECIPE, steps=2)
    passes = []
    layer = transformers.models.llama.modeling_llama.LlamaMLP
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda self, x: passes.append(1) or forward(self, x))
    plain, again = (
        train(setup, setup.base_state(Path()), Mixture.subset(names, names[:2]), each, 5)
        for each in (recipe, replace(recipe, checkpoint_activations=True))
    )
    assert all(torch.equal(plain.state[name], again.state[name]) for name in plain.state)
    assert len(passes) == 2 * 2 + 2 * 2 * 2, "two layers, two steps: once, and then twice"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"checkpoint_activations": True}, "is for models of transformers; a DroppingModel cannot"),
        ({"device": "cuda:99"}, r"train\.device = 'cuda:99': torch .* finds \d+ CUDA devices"),
        ({"device": "gpu"}, "device 'gpu': wanted cpu, cuda, or cuda:1"),
        ({"micro_batch": 0}, r"train\.micro_batch must be a whole number of at least 1"),
        ({"save_every": 0}, r"train\.save_every must be a whole number of at least 1"),
        ({"dtype": "float16"}, r"train\.dtype must be one of float32, bfloat16"),
    ],
)
def test_what_cannot_be_is_named(keys: dict[str, object], said: str, setup: LinearSetup) -> None:
    with pytest.raises(ConfigError, match=said):
        trained(setup, replace(RECIPE, **keys))  # type: ignore[arg-type]


def test_defaults_leave_a_recipe_what_it_was() -> None:
    later = {"adapter", "lora", "micro_batch", "dtype", "checkpoint_activations", "device", "save_every"}
    assert not later & RECIPE.deciding.keys()
    assert (
        replace(RECIPE, device="auto", save_every=3, checkpoint_activations=True).deciding == RECIPE.deciding
    )
    changed = replace(RECIPE, adapter="lora", micro_batch=2, dtype="bfloat16")
    assert changed.deciding.keys() - RECIPE.deciding.keys() == {"adapter", "lora", "micro_batch", "dtype"}
    assert TrainRecipe(**changed.deciding) == changed
