"""Merges of models that store one model in different ways: right values, and a word about it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lora_files import factors, save_adapter
from torch import Tensor

from m2m.checkpoint import Checkpoint, save, verify
from m2m.errors import CheckpointError
from m2m.merging import merge
from m2m.scoring.models import open_models

State = dict[str, Tensor]


def network(seed: int) -> State:
    random = torch.Generator().manual_seed(seed)
    return {
        "h.0.attn.weight": torch.randn(4, 4, generator=random),
        "h.0.bn.running_mean": torch.randn(4, generator=random),
        "wte.weight": torch.randn(6, 4, generator=random),
    }


def recipe(method: str, base: Path, *experts: Path, **more: Any) -> dict[str, Any]:
    models = [{"model": str(path), "parameters": {"weight": 0.5}} for path in experts]
    return {"merge_method": method, "base_model": str(base), "models": models, **more}


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties"])
def test_names_buffers_and_counters_do_not_stand_in_the_way(tmp_path: Path, method: str) -> None:
    """A base as published years ago, experts as written today: their weights merged, the base's buffers."""
    buffers = {"h.0.attn.bias": torch.tril(torch.ones(1, 1, 3, 3)), "h.0.bn.count": torch.tensor(1)}
    base, experts = network(0) | buffers, [network(1), network(2)]
    folders = [save(base, tmp_path / "base")]
    for number, expert in enumerate(experts):
        renamed = {f"transformer.{name}": tensor for name, tensor in expert.items()}
        folders.append(
            save(renamed | {"transformer.h.0.bn.count": torch.tensor(number)}, tmp_path / f"{number}")
        )
    plain = [save(state, tmp_path / f"plain{number}") for number, state in enumerate([network(0), *experts])]
    report = merge(recipe(method, *folders), tmp_path / "out")
    merge(recipe(method, *plain), tmp_path / "wanted")
    got = Checkpoint(tmp_path / "out").state()
    for name, tensor in Checkpoint(tmp_path / "wanted").state().items():
        assert torch.equal(got.pop(name), tensor)
    assert {name: tensor.tolist() for name, tensor in got.items()} == {
        k: v.tolist() for k, v in buffers.items()
    }
    assert any("transformer." in note for note in report.notes)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["notes"] == list(report.notes)


def test_what_is_excluded_or_filled_in_is_the_bases(tmp_path: Path) -> None:
    base, expert = network(0), network(1)
    head = {"score.weight": torch.ones(2, 4)}
    folders = [
        save(base | head, tmp_path / "base"),
        save(expert, tmp_path / "a"),
        save(expert, tmp_path / "b"),
    ]
    with pytest.raises(CheckpointError, match=r"'score.weight'; if they .* fill_missing: base under m2m"):
        merge(recipe("task_arithmetic", *folders), tmp_path / "out")
    for number, options in enumerate(({"fill_missing": "base"}, {"exclude": ["score.*", "wte.*"]})):
        out = tmp_path / f"out{number}"
        merge(recipe("task_arithmetic", *folders, m2m=options), out)
        got = Checkpoint(out).state()
        assert torch.equal(got["score.weight"], head["score.weight"])
        assert torch.equal(got["wte.weight"], (base if number else expert)["wte.weight"]) or not number
        torch.testing.assert_close(got["h.0.attn.weight"], expert["h.0.attn.weight"])


def test_differences_are_warned_of_and_strict_refuses_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [save(network(0), tmp_path / f"{number}") for number in range(3)]
    for folder, theta in zip(folders, (1e4, 1e4, 5e5), strict=True):
        (folder / "config.json").write_text(json.dumps({"rope_theta": theta}))
    with pytest.raises(CheckpointError, match=r"rope_theta is 500000.0 \(there 10000.0\) \(strict"):
        merge(recipe("linear", *folders), tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()
    with caplog.at_level(logging.WARNING):
        report = merge(recipe("linear", *folders), tmp_path / "out")
    (line,) = report.warnings
    assert line in caplog.text
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["warnings"] == [line]


def test_a_model_of_another_base_is_doubted(tmp_path: Path) -> None:
    base = network(0)
    moved = {name: value * 1.05 if value.is_floating_point() else value for name, value in base.items()}
    folders = [save(state, tmp_path / name) for name, state in
               (("base", base), ("expert", moved), ("stranger", network(1)))]  # fmt: skip
    assert merge(recipe("linear", *folders[:2]), tmp_path / "near").warnings == ()
    (line,) = merge(recipe("linear", *folders), tmp_path / "far").warnings
    assert "stranger: lies 1." in line
    assert "another base model" in line
    stacked = {"merge_method": "passthrough", "slices": [
        {"sources": [{"model": str(folder), "layer_range": [0, 1]}]} for folder in folders
    ]}  # fmt: skip
    assert merge(stacked, tmp_path / "stacked").warnings == ()


def test_every_file_but_weights_travels(tmp_path: Path) -> None:
    folders = [save(network(seed), tmp_path / f"{seed}") for seed in range(2)]
    wanted = {
        "config.json": "{}", "modules.json": "[]", "1_Pooling/config.json": "{}", "tekken.json": "{}",
        "source.spm": "s", "additional_chat_templates/tool_use.jinja": "t", "2_Dense/model.safetensors": "w",
    }  # fmt: skip
    left = {
        "pytorch_model-old.bin": "w", "trainer_state.json": "{}", "onnx/model.onnx": "w", ".cache/x": "x",
        "checkpoint-3/model.safetensors": "w", "checkpoint-3/config.json": "{}",
        "other/model.safetensors": "w",
    }  # fmt: skip
    for name, content in (wanted | left).items():
        (folders[0] / name).parent.mkdir(exist_ok=True)
        (folders[0] / name).write_text(content)
    out = tmp_path / "out"
    merge(recipe("linear", *folders), out)
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {*wanted, "model.safetensors", "manifest.json", "README.md"}
    assert verify(out).files == len(files) - 1
    (out / "1_Pooling" / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"1_Pooling/config.json has changed"):
        verify(out)


@pytest.mark.parametrize("name", ["c++", "a+b", "run@2024"])
def test_a_folder_that_is_there_is_taken_by_its_name(tmp_path: Path, name: str) -> None:
    folders = [save(network(0), tmp_path / "base"), save(network(1), tmp_path / name)]
    merge(recipe("linear", *folders), tmp_path / "out")
    torch.testing.assert_close(Checkpoint(tmp_path / "out").state(), network(1))


def test_an_adapter_goes_on_the_model_that_is_written_before_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = save(network(0), tmp_path / "c++")
    own = factors("h.0.attn", 4, 4, 4, seed=3)
    adapter = save_adapter(tmp_path / "adapter", own, base_model_name_or_path="/home/another/model")
    whole = {"merge_method": "passthrough", "models": [{"model": f"{base}+{adapter}"}]}
    with caplog.at_level(logging.WARNING):
        merge(whole, tmp_path / "out")
    assert "was trained on '/home/another/model'; it is put on" in caplog.text
    changed = Checkpoint(tmp_path / "out").state()
    assert not torch.equal(changed["h.0.attn.weight"], network(0)["h.0.attn.weight"])
    assert torch.equal(changed["wte.weight"], network(0)["wte.weight"])


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties"])
def test_a_head_of_an_expert_alone_unties_the_model(tmp_path: Path, method: str) -> None:
    """The base's head is its embedding: merging is as if it were stored, and the result is not tied."""
    tied, head = {"tie_word_embeddings": True}, torch.randn(6, 4)
    states = [network(0), network(1) | {"lm_head.weight": head}, network(2)]
    settings = [tied, {"tie_word_embeddings": False}, tied]
    folders = [save(state, tmp_path / f"{at}") for at, state in enumerate(states)]
    for folder, setting in zip(folders, settings, strict=True):
        (folder / "config.json").write_text(json.dumps(setting))
    apart = [save({"lm_head.weight": state["wte.weight"]} | state, tmp_path / f"apart{at}")
             for at, state in enumerate(states)]  # fmt: skip
    report = merge(recipe(method, *folders), tmp_path / "out")
    merge(recipe(method, *apart), tmp_path / "wanted")
    got, wanted = (Checkpoint(tmp_path / name).state() for name in ("out", "wanted"))
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in wanted.items())
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"tie_word_embeddings": False}
    assert any("'lm_head.weight' is written apart from 'wte.weight'" in note for note in report.notes)
    merge(recipe(method, *folders, m2m={"exclude": ["lm_head.*"]}), tmp_path / "tied")
    assert "lm_head.weight" not in Checkpoint(tmp_path / "tied").tensors
    with (
        pytest.raises(CheckpointError, match=r"1: has a head of its own, 'lm_head.weight', which .*0 ties"),
        open_models(folders[0], {"a": folders[1]}),
    ):
        pass
