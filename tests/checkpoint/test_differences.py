"""Models whose tensors fit but mean different things are told apart; what changes nothing is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.differences import differences
from m2m.checkpoint.tokenizer import vocabulary

CONFIG = {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0}
WORDS = [f"w{number}" for number in range(8)]


def model(path: Path, files: dict[str, Any]) -> Checkpoint:
    folder = save({"a": torch.ones(2)}, path)
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return Checkpoint(folder)


def tokenizer(words: list[str], added: list[str] | None = None, *, pieces: bool = False) -> dict[str, Any]:
    vocab = (
        [[word, -1.0] for word in words] if pieces else {word: number for number, word in enumerate(words)}
    )
    tokens = [{"content": word, "id": len(words) + number} for number, word in enumerate(added or [])]
    return {"model": {"vocab": vocab}, "added_tokens": tokens}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rope_theta": 500000.0}, "rope_theta is 500000.0 (there 10000.0)"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05 (there 1e-06)"),
        ({"hidden_act": None}, "hidden_act is not said (there silu)"),
        ({"rope_scaling": {"factor": 8.0}}, "rope_scaling is {'factor': 8.0} (there not said)"),
        ({"text_config": {"rope_theta": 5.0}}, "text_config.rope_theta is 5.0 (there 10000.0)"),
        (
            {"rope_theta": None, "rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}},
            "is 7.0 (there 10",
        ),
    ],
)
def test_settings_that_change_what_weights_compute_are_told(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    other = {key: value for key, value in (CONFIG | change).items() if value is not None}
    donor, expert = (
        model(tmp_path / "a", {"config.json": CONFIG}),
        model(tmp_path / "b", {"config.json": other}),
    )
    (line,) = differences(donor, expert)
    assert told in line
    assert str(tmp_path / "b") in line
    assert not differences(expert, expert)


@pytest.mark.parametrize(
    "change",
    [
        {
            "torch_dtype": "bfloat16",
            "transformers_version": "4.1",
            "use_cache": False,
            "attention_dropout": 0.1,
        },
        {"rope_theta": None},
        {"rope_theta": None, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
        {"head_dim": 64, "mlp_bias": False},
    ],
)
def test_settings_that_change_nothing_are_not(tmp_path: Path, change: dict[str, Any]) -> None:
    other = {key: value for key, value in (CONFIG | change).items() if value is not None}
    donor, expert = (
        model(tmp_path / "a", {"config.json": CONFIG}),
        model(tmp_path / "b", {"config.json": other}),
    )
    assert not differences(donor, expert)
    assert not differences(expert, donor)
    assert not differences(donor, model(tmp_path / "c", {}))


@pytest.mark.parametrize("pieces", [False, True], ids=["words", "pieces"])
def test_ids_of_other_words_are_told(tmp_path: Path, pieces: bool) -> None:
    donor = model(tmp_path / "a", {"tokenizer.json": tokenizer(WORDS, pieces=pieces)})
    swapped = [*WORDS[:6], "w7", "w6"]
    expert = model(tmp_path / "b", {"tokenizer.json": tokenizer(swapped, pieces=pieces)})
    (line,) = differences(donor, expert)
    assert "other ids to 2 tokens" in line
    assert "'w6' is 7 (there 6)" in line
    assert vocabulary(expert) == {word: number for number, word in enumerate(swapped)}
    same = model(tmp_path / "c", {"tokenizer.json": tokenizer(WORDS, pieces=pieces)})
    assert not differences(donor, same)


def test_added_tokens_and_templates_are_told(tmp_path: Path) -> None:
    donor = model(tmp_path / "a", {"tokenizer.json": tokenizer(WORDS), "chat_template.jinja": "{{ a }}"})
    expert = model(
        tmp_path / "b",
        {
            "tokenizer.json": tokenizer(WORDS, ["<pad>"]),
            "tokenizer_config.json": {"chat_template": "{{ b }}"},
        },
    )
    more, other = differences(donor, expert)
    assert "1 tokens more" in more
    assert "another chat template" in other
