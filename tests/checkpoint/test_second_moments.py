"""Second moments: of an optimizer at hand, and of the optimizer.pt that a Trainer leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.second_moments import second_moments, write_second_moments
from m2m.errors import CheckpointError, ConfigError, InputError

BETAS = (0.8, 0.95)


def trained(
    optimizer: str = "AdamW", steps: int = 3, **options: Any
) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    """A small model after a few steps, and the gradients of every step by parameter."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].bias.requires_grad_(False)
    made = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01, **options)
    gradients: dict[str, list[torch.Tensor]] = {}
    for _ in range(steps):
        made.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                gradients.setdefault(name, []).append(parameter.grad.double().clone())
        made.step()
    return model, made, gradients


@pytest.mark.parametrize("fused", [False, True])
def test_they_are_the_weighted_mean_of_squared_gradients(fused: bool) -> None:
    model, optimizer, gradients = trained(betas=BETAS, fused=fused)
    found = second_moments(optimizer, model)
    assert found.keys() == gradients.keys() == {"0.weight", "0.bias", "1.weight"}
    for name, own in gradients.items():
        weights = [BETAS[1] ** (len(own) - 1 - s) for s in range(len(own))]
        want = sum(w * g**2 for w, g in zip(weights, own, strict=True)) / sum(weights)
        assert found[name].dtype == torch.float32
        # Three float32 roundings a step in the optimizer, one here; 1 − β₂^t in float64.
        assert torch.all((found[name] - want).abs() <= (3 * len(own) + 2) * 2.0**-24 * want)


def test_other_optimizers_have_none() -> None:
    model, optimizer, _ = trained("SGD", momentum=0.9)
    with pytest.raises(
        CheckpointError, match=r"state of '0.weight' has \['momentum_buffer'\]; wanted AdamW's"
    ):
        second_moments(optimizer, model)


def checkpoint_folder(folder: Path, steps: int = 3) -> tuple[Path, dict[str, torch.Tensor]]:
    """A folder as a Trainer leaves it, but for its configuration: the groups tell their parameters' names."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    decayed = [(n, p) for n, p in model.named_parameters() if "bias" not in n]
    others = [(n, p) for n, p in model.named_parameters() if "bias" in n]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], betas=BETAS
    )
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
    save(model.state_dict(), folder)
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    return folder, second_moments(optimizer, model)


def test_a_state_with_names_needs_no_model(tmp_path: Path) -> None:
    folder, want = checkpoint_folder(tmp_path / "c")
    written = write_second_moments(folder, tmp_path / "v.safetensors")
    found = Checkpoint(tmp_path / "v.safetensors").state()
    assert found.keys() == want.keys()
    assert all(torch.equal(found[name], want[name]) for name in want)
    assert (written.tensors, written.steps, written.nbytes) == (4, 3, 4 * (12 + 4 + 8 + 2))


def test_a_transformers_trainers_state_is_read(tmp_path: Path) -> None:
    """A real run: the file has, under each name, what the live optimizer of the Trainer had."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    for tied in (False, True):
        folder, trainer = tiny_trainer_run(transformers, tmp_path / f"{tied}", tied=tied)
        want = second_moments(trainer.optimizer.optimizer, trainer.model)
        write_second_moments(folder, tmp_path / f"{tied}.safetensors")
        found = Checkpoint(tmp_path / f"{tied}.safetensors").state()
        assert found.keys() == want.keys()
        assert all(torch.equal(found[name], want[name]) for name in want)
        assert ("lm_head.weight" in found) != tied


def tiny_trainer_run(transformers: Any, out: Path, *, tied: bool) -> tuple[Path, Any]:
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=tied,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    tokens = torch.randint(0, 20, (8, 6), generator=torch.Generator().manual_seed(1))
    data = [{"input_ids": row, "labels": row} for row in tokens]
    options = transformers.TrainingArguments(
        str(out), per_device_train_batch_size=2, max_steps=3, save_steps=3, weight_decay=0.1, report_to=[],
        use_cpu=True, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = transformers.Trainer(model=model, args=options, train_dataset=data)
    trainer.train()
    return out / "checkpoint-3", trainer


class Harmful:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path, ("made",)


def without(key: str) -> Callable[[Any], Any]:
    def change(state: Any) -> Any:
        for own in state["state"].values():
            del own[key]
        return state

    return change


def reshape(state: Any) -> Any:
    state["state"][0]["exp_avg_sq"] = torch.ones(3)
    return state


def negative(state: Any) -> Any:
    state["state"][0]["exp_avg_sq"][0, 0] = -1
    return state


def unnamed(state: Any) -> Any:
    for group in state["param_groups"]:
        del group["param_names"]
    return state


def renamed(state: Any) -> Any:
    state["param_groups"][0]["param_names"][0] = "other"
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: Harmful(), "is not a PyTorch optimizer's state that weights_only loads"),
        (lambda state: [1], "is not a PyTorch optimizer's state"),
        (
            lambda state: {**state, "param_groups": [{}]},
            "is not a PyTorch optimizer's state.*'params' is missing",
        ),
        (lambda state: {**state, "state": {0: 1}}, "wanted AdamW's state"),
        (lambda state: {**state, "state": {}}, "holds no parameter's state: nothing was trained"),
        (without("exp_avg_sq"), r"the state of '0.weight' has \['exp_avg', 'step'\]; wanted AdamW's state"),
        (without("step"), "the state of '0.weight' has"),
        (reshape, r"the state of '0.weight' has shape \[3\], wanted \[4, 3\] as in"),
        (negative, "the state of '0.weight' has second moments that are negative, NaN or infinite"),
        (renamed, "its parameter 'other' is no tensor of"),
        (unnamed, "config.json"),
    ],
)
def test_what_is_no_state_of_adamw_is_one_line(
    tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    folder, _ = checkpoint_folder(tmp_path / "c")
    file = folder / "optimizer.pt"
    torch.save(change(torch.load(file, weights_only=True)), file)
    with pytest.raises(InputError, match=message) as caught:
        write_second_moments(folder, tmp_path / "v.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "v.safetensors").exists()


def test_a_checkpoint_without_a_state_and_an_adapter_are_refused(tmp_path: Path) -> None:
    folder, _ = checkpoint_folder(tmp_path / "c")
    with pytest.raises(ConfigError, match="out"):
        write_second_moments(folder, folder / "second_moments.safetensors")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="holds an adapter"):
        write_second_moments(folder, tmp_path / "v.safetensors")
    (folder / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer.pt: is not there; a Trainer writes it"):
        write_second_moments(folder, tmp_path / "v.safetensors")
