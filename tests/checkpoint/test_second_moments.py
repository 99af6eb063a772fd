"""Second moments: of an optimizer at hand, and of the optimizer.pt that a Trainer leaves."""

from __future__ import annotations

import pickle
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


def test_a_step_too_long_to_print_is_one_line() -> None:
    model, optimizer, _ = trained()
    optimizer.state[model[0].weight]["step"] = 10**5000
    with pytest.raises(CheckpointError, match=r"state of '0.weight': step is of kind int, wanted a whole"):
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


def within(key: str, value: Any) -> Callable[[Any], Any]:
    """Change what the state keeps of its first parameter."""

    def change(state: Any) -> Any:
        state["state"][0][key] = value() if callable(value) else value
        return state

    return change


def of_group(key: str, value: Any) -> Callable[[Any], Any]:
    """Change what the state's first group says."""

    def change(state: Any) -> Any:
        state["param_groups"][0][key] = value
        return state

    return change


STEPS = [
    (torch.tensor([1.0, 2.0, 3.0]), r"tensor\(\[1., 2., 3.\]\)"), ("x", "'x'"), (10**400, "1000"),
    (-3, "-3"), (0, "0"), (2.5, "2.5"), (2.0**54, "1.8"), (torch.nan, "nan"),
    (torch.inf, "inf"), (torch.tensor(torch.inf), r"tensor\(inf\)"), (True, "True"), (None, "None"),
    (torch.tensor(1j), "tensor"), (torch.tensor(3.0, device="meta"), "tensor"), ([3], r"\[3\]"),
]  # fmt: skip
BETAS_NOT = [
    (0.9,), "ab", (0.9, "x"), 0.9, None, (0.9, 1.0), (-0.1, 0.9), (1.5, 0.9), (0.9, torch.nan),
    (0.9, 10**400), (0.9, 0.99, 0.999), {0: 0.9, 1: 0.9}, torch.tensor([0.9, 0.99]),
]  # fmt: skip
SQUARES: list[tuple[Callable[[], Any], str]] = [
    (lambda: torch.ones(4, 3).to_sparse(), "sparse"),
    (lambda: torch.ones(4, 3).to_sparse_csr(), "sparse"),
    (lambda: torch.nested.nested_tensor([torch.ones(3)]), "nested"),
    (lambda: torch.quantize_per_tensor(torch.ones(4, 3), 0.1, 0, torch.quint8), "quantized"),
    (lambda: torch.ones(4, 3, device="meta"), "without its numbers"),
    (lambda: torch.ones(4, 3, dtype=torch.complex64), "torch.complex64"),
    (lambda: torch.ones(4, 3, dtype=torch.int64), "torch.int64"),
    (lambda: torch.ones(4, 3, dtype=torch.bool), "torch.bool"),
    (lambda: torch.ones(4, 3).to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
    (lambda: [1.0], r"\[1.0\]"),
    (lambda: None, "None"),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: Harmful(), "is not a PyTorch optimizer's state that weights_only loads"),
        (lambda state: [1], "is not a PyTorch optimizer's state"),
        (
            lambda state: {**state, "param_groups": [{}]},
            r"is not a PyTorch optimizer's state.*param_groups\[0\].params is missing",
        ),
        (lambda state: {**state, "state": {0: 1}}, "state.0 is 1, wanted a table"),
        (lambda state: {**state, "state": {}}, "holds no parameter's state: nothing was trained"),
        (without("exp_avg_sq"), r"the state of '0.weight' has \['exp_avg', 'step'\]; wanted AdamW's state"),
        (without("step"), "the state of '0.weight' has"),
        (reshape, r"the state of '0.weight' has shape \[3\], wanted \[4, 3\] as in"),
        (negative, "the state of '0.weight' has second moments that are negative, NaN or infinite"),
        (renamed, "its parameter 'other' is no tensor of"),
        (unnamed, "config.json"),
        *[
            (within("step", step), rf"'0.weight': step is {got}.*, wanted a whole number")
            for step, got in STEPS
        ],
        *[
            (of_group("betas", betas), r"'0.weight': betas of its group is .*, wanted two")
            for betas in BETAS_NOT
        ],
        *[
            (within(key, squares), rf"'0.weight': {key} is {got}.*, wanted a")
            for squares, got in SQUARES
            for key in ("exp_avg_sq", "max_exp_avg_sq")
        ],
        (of_group("param_names", ["0.weight"]), r"param_groups\[0\].param_names has 1 names, wanted 2 as in"),
        (of_group("param_names", 3), r"param_groups\[0\].param_names is 3, wanted"),
        (of_group("param_names", 10**5000), "wanted tensors, numbers, text and tables of them"),
        (of_group("param_names", "ab"), r"param_groups\[0\].param_names is 'ab', wanted"),
        (of_group("param_names", ["0.weight", 1]), r"param_groups\[0\].param_names\[1\] is 1, wanted text"),
        (of_group("param_names", ["0.weight"] * 2), "param_names of param_groups has '0.weight' twice"),
        (of_group("param_names", ["0.weight", "1.bias"]), "param_names of param_groups has '1.bias' twice"),
        (of_group("params", [0, 0]), "params of param_groups has 0 twice"),
        (of_group("params", [[0], 1]), r"param_groups\[0\].params\[0\] is \[0\], wanted"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch's, of sparse and quantized tensors
def test_what_is_no_state_of_adamw_is_one_line(
    tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    folder, _ = checkpoint_folder(tmp_path / "c")
    file = folder / "optimizer.pt"
    torch.save(change(torch.load(file, weights_only=True)), file)
    with pytest.raises(InputError, match=message) as caught:
        write_second_moments(folder, tmp_path / "v.safetensors")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert not (tmp_path / "v.safetensors").exists()


def test_a_state_of_before_torch_1_6_is_read_too(tmp_path: Path) -> None:
    folder, want = checkpoint_folder(tmp_path / "c")
    state = torch.load(folder / "optimizer.pt", weights_only=True)
    torch.save(state, folder / "optimizer.pt", _use_new_zipfile_serialization=False)
    write_second_moments(folder, tmp_path / "v.safetensors")
    found = Checkpoint(tmp_path / "v.safetensors").state()
    assert found.keys() == want.keys()
    assert all(torch.equal(found[name], want[name]) for name in want)


@pytest.mark.parametrize("legacy", [False, True])
def test_nobody_is_advised_to_run_what_was_refused(tmp_path: Path, legacy: bool) -> None:
    folder, _ = checkpoint_folder(tmp_path / "c")
    torch.save(Harmful(), folder / "optimizer.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"it holds '\w+\.[\w.]*Path'$") as caught:
        write_second_moments(folder, tmp_path / "v.safetensors")
    assert not any(advice in str(caught.value) for advice in ("False", "Re-running", "safe_globals", "trust"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"some text\n", "it is not a file of torch.save"),
        (pickle.dumps({"state": {}, "param_groups": []}), "it is not a file of torch.save"),
        (pickle.dumps({"state": {}, "param_groups": []}, protocol=2), "it is not a file of torch.save"),
        (b"PK\x03\x04 and so on", "it is a zip archive that is cut off"),
    ],
)
def test_what_torch_did_not_save_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    folder, _ = checkpoint_folder(tmp_path / "c")
    (folder / "optimizer.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"optimizer.pt is not a PyTorch opt.*: {message}"):
        write_second_moments(folder, tmp_path / "v.safetensors")


def test_the_folder_is_wanted_and_not_the_file(tmp_path: Path) -> None:
    folder, _ = checkpoint_folder(tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"optimizer.pt is a file, wanted the folder .*: .*/c$"):
        write_second_moments(folder / "optimizer.pt", tmp_path / "v.safetensors")


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
