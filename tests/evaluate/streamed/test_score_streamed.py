"""Streamed scores have the bits of resident ones, from one pass over the experts, whatever the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.token_task import ImageTask, TokenTask
from torch import Tensor, nn

from m2m.checkpoint import Checkpoint, save
from m2m.evaluate import score
from m2m.evaluate.batched_scorer import BatchedScorer
from m2m.evaluate.streamed import Streamed, score_streamed
from m2m.setups.byte_gpt import ByteGPT, Shape

MIB = 2**20
WEIGHTS = [[0.5, 0.25, 0.25], [0.0, 0.75, 0.25], [1.5, -0.5, 0.0], [0.2, 0.3, 0.5]]
Build = Callable[[], nn.Module]


def llama(*, tied: bool, dtype: torch.dtype = torch.float32) -> Build:
    def build() -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        return LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=tied)).to(dtype)

    return build


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=3, n_head=4, n_positions=32, **ends))


def byte_gpt() -> nn.Module:
    return ByteGPT(Shape(layers=3, width=32, heads=4, context=16))


def cnn() -> nn.Module:
    """Channels-last weights, running statistics, integer buffers."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 5)
    ).to(memory_format=torch.channels_last)


class Others(nn.Module):
    """Fused encoder layers, recurrent weights kept in lists, one layer used twice, views of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.recurrent = nn.LSTM(16, 16, 2, batch_first=True)
        self.twice = nn.Linear(16, 16)
        self.head = nn.Linear(16, 64)
        self.register_buffer("scale", torch.full((16,), 0.5), persistent=False)
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.encoder(self.embed(input_ids)) * self.scale
        rows = self.embed.weight.t()
        x = self.twice(self.recurrent(self.twice(x))[0])
        out: Tensor = self.head(x) + x @ rows * self.gain
        return out


def states(build: Build, count: int) -> list[dict[str, Tensor]]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        state = build().state_dict()
        for name, value in state.items():
            if value.is_floating_point() and "running" in name:
                value.uniform_(0.5, 1.5)
        made.append(state)
    return made


def saved(build: Build, folder: Path, change: dict[str, Tensor] | None = None) -> list[Checkpoint]:
    made = states(build, 4)
    made[2].update(change or {})
    for number, state in enumerate(made):
        save(state, folder / str(number))
    return [Checkpoint(folder / str(number)) for number in range(4)]


def streamed(build: Build, files: list[Checkpoint], tasks: Any, **options: Any) -> Streamed:
    return score_streamed(
        build, files[0], files[1:], options.pop("weights", WEIGHTS), tasks, **({"memory": 64 * MIB} | options)
    )


def size_of(files: list[Checkpoint], without: str = "-") -> int:
    return sum(t.nbytes for f in files[1:] for name, t in f.tensors.items() if without not in name)


CASES: dict[str, tuple[Build, list[BatchedScorer]]] = {
    "llama": (llama(tied=False), [TokenTask()]),
    "llama tied": (llama(tied=True), [TokenTask(), TokenTask(count=3, length=7)]),
    "llama bfloat16": (llama(tied=True, dtype=torch.bfloat16), [TokenTask()]),
    "gpt2": (gpt2, [TokenTask()]),
    "byte gpt": (byte_gpt, [TokenTask(keyword="tokens")]),
    "cnn": (cnn, [ImageTask()]),
    "others": (Others, [TokenTask()]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("memory", [64 * MIB, 9 * MIB])
def test_scores_have_the_bits_of_resident_ones(case: str, memory: int, tmp_path: Path) -> None:
    build, tasks = CASES[case]
    files = saved(build, tmp_path)
    base, *experts = [file.state() for file in files]
    wanted = score(build(), base, experts, WEIGHTS, tasks)
    got = streamed(build, files, tasks, memory=memory)
    for wanted_row, got_row in zip(wanted, got.scores, strict=True):
        for a, b in zip(wanted_row, got_row, strict=True):
            assert a.values.keys() == b.values.keys()
            assert all(np.array_equal(a.values[metric], b.values[metric]) for metric in a.values)
    assert got.passes == 1
    assert got.bytes_read == size_of(files, without="num_batches_tracked")
