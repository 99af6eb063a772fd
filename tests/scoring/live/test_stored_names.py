"""Layouts whose folders call weights otherwise than their modules do are scored like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_models import write_tokenizer

import m2m
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks import TextLossScorer

transformers: Any = pytest.importorskip("transformers", reason="needs the extra `huggingface`")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    sizes = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    for seed, name in enumerate(("base", "a", "b")):
        torch.manual_seed(seed)
        config = transformers.GPTNeoXConfig(**sizes, num_attention_heads=2, eos_token_id=256)
        transformers.GPTNeoXForCausalLM(config).save_pretrained(tmp_path / name)
        write_tokenizer(tmp_path / name)
    (tmp_path / "text.txt").write_text("A text that is longer than one window of sixteen tokens.")
    return tmp_path


def losses(models: Path, mode: str) -> dict[str, list[float]]:
    task, out = f"lm:{models / 'text.txt'}", models / f"{mode}.csv"
    m2m.score(models / "base", [models / "a", models / "b"], tasks=[task], context=16, mode=mode, out=out)
    with ScoreTable(out.with_suffix(".sqlite")) as table:
        return {row.candidate: row.examples.tolist() for row in table.rows(metric="loss")}


def test_a_gpt_neox_folder_is_scored_in_every_mode_with_its_own_head(models: Path) -> None:
    assert "embed_out.weight" in m2m.Checkpoint(models / "a").tensors
    resident = losses(models, "resident")
    assert losses(models, "streamed") == losses(models, "stacked") == resident
    loaded = transformers.AutoModelForCausalLM.from_pretrained(models / "b")
    folder = HuggingFaceFolder(models / "b", 16)
    scores = TextLossScorer.read(models / "text.txt", folder, stride=None, limit=None)(loaded)
    assert resident["b"] == scores.values["loss"].tolist()
