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
from m2m.errors import CheckpointError, InputError, MixtureError
from m2m.scoring import FunctionScorer, score_resident
from m2m.scoring.streamed import Streamed, score_streamed
from m2m.scoring.tasks.scorer import BatchedScorer
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


def neox(*, tied: bool) -> Build:
    def build() -> nn.Module:
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        return GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, num_attention_heads=4, tie_word_embeddings=tied))

    return build


def qwen2(*, tied: bool) -> Build:
    def build() -> nn.Module:
        from transformers import Qwen2Config, Qwen2ForCausalLM

        sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        return Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, tie_word_embeddings=tied))

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
    "neox": (neox(tied=False), [TokenTask()]),
    "neox tied": (neox(tied=True), [TokenTask()]),
    "qwen2": (qwen2(tied=False), [TokenTask()]),
    "qwen2 tied": (qwen2(tied=True), [TokenTask()]),
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
    wanted = score_resident(build(), base, experts, WEIGHTS, tasks)
    got = streamed(build, files, tasks, memory=memory)
    for wanted_row, got_row in zip(wanted, got.scores, strict=True):
        for a, b in zip(wanted_row, got_row, strict=True):
            assert a.values.keys() == b.values.keys()
            assert all(np.array_equal(a.values[metric], b.values[metric]) for metric in a.values)
    assert got.counts.passes == 1
    assert got.counts.bytes_read == size_of(files, without="num_batches_tracked")


def test_reading_is_one_pass_whatever_the_number_of_candidates_and_batches(tmp_path: Path) -> None:
    files = saved(llama(tied=True), tmp_path)
    read = {
        streamed(llama(tied=True), files, [TokenTask(size=size)], weights=WEIGHTS[:1] * m).counts.bytes_read
        for m, size in ((1, 5), (1, 1), (7, 2))
    }
    assert read == {size_of(files)}


def test_an_expert_that_no_candidate_uses_is_not_read(tmp_path: Path) -> None:
    files = saved(byte_gpt, tmp_path)
    got = streamed(byte_gpt, files, [TokenTask(keyword="tokens")], weights=[[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]])
    assert got.counts.bytes_read * 3 == size_of(files) * 2


def test_activations_wait_on_disk_where_memory_is_short(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return ByteGPT(Shape(layers=2, width=128, heads=4, context=128))

    files = saved(build, tmp_path)
    base, *experts = [file.state() for file in files]
    tasks = [TokenTask(count=12, length=128, size=4, keyword="tokens")]
    got = streamed(build, files, tasks, memory=12 * MIB)
    assert got.counts.bytes_spilled > MIB
    assert got.counts.passes == 1
    for a, b in zip(score_resident(build(), base, experts, WEIGHTS, tasks), got.scores, strict=True):
        assert np.array_equal(a[0].values["loss"], b[0].values["loss"])


def test_a_path_that_the_rehearsal_did_not_take_is_taken(tmp_path: Path) -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(64, 16)
            self.left, self.right, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 64)

        def forward(self, input_ids: Tensor) -> Tensor:
            x = self.embed(input_ids)
            x = self.left(x) if x.sum() == 0 else self.right(x)  # zero only in the rehearsal
            out: Tensor = self.head(x)
            return out

    files = saved(Routed, tmp_path)
    base, *experts = [file.state() for file in files]
    got = streamed(Routed, files, [TokenTask()])
    assert size_of(files) < got.counts.bytes_read < 2 * size_of(files), (
        "what the detour had passed is read again"
    )
    wanted = score_resident(Routed(), base, experts, WEIGHTS, [TokenTask()])
    assert [row[0].mean("loss") for row in got.scores] == [row[0].mean("loss") for row in wanted]


def test_a_budget_that_is_too_small_names_the_block_and_what_it_needs(tmp_path: Path) -> None:
    files = saved(byte_gpt, tmp_path)
    with pytest.raises(
        InputError, match=r"budget of 4\.0 MiB is too small for the block of .*\.weight: 3 experts"
    ):
        streamed(byte_gpt, files, [TokenTask(keyword="tokens")], memory=4 * MIB)
    with pytest.raises(InputError, match=r"activations take up to .* wanted at least 4\.\d MiB"):
        streamed(byte_gpt, files, [TokenTask(keyword="tokens")], memory=4 * MIB + 170_000)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    files = saved(byte_gpt, tmp_path / "good")
    tasks = [TokenTask(keyword="tokens")]
    with pytest.raises(CheckpointError, match=r"does not fit the module: missing \['0.weight'"):
        streamed(cnn, files, [ImageTask()])
    with pytest.raises(MixtureError, match=r"weights must be \[M, 3\]"):
        streamed(byte_gpt, files, tasks, weights=[[1.0, 0.0]])
    bias = torch.zeros(32)
    bias[3] = torch.nan
    bad = saved(byte_gpt, tmp_path / "bad", {"norm.bias": bias})
    with pytest.raises(CheckpointError, match=r"2, tensor norm.bias: element \[3\] is nan"):
        streamed(byte_gpt, bad, tasks)


def test_a_forward_that_depends_on_a_tensor_of_no_checkpoint_is_refused(tmp_path: Path) -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(64, 64)
            self.rows = self.embed.weight.detach() * 2

        def forward(self, input_ids: Tensor) -> Tensor:
            out: Tensor = self.embed(input_ids) @ self.rows
            return out

    files = saved(Remembers, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"uses a tensor \[64, 64\] in aten.matmul.default that no checkpoint"
    ):
        streamed(Remembers, files, [TokenTask()])


def test_a_task_without_batches_is_sent_to_the_resident_mode(tmp_path: Path) -> None:
    source = tmp_path / "task.py"
    source.write_text('METRICS = {"a": True}\ndef score(model):\n    return {"a": 1.0}\n')
    files = saved(byte_gpt, tmp_path / "files")
    with pytest.raises(InputError, match=r"needs a task that comes in batches .*got FunctionScorer"):
        streamed(byte_gpt, files, [FunctionScorer(f"{source}:score")])


def test_a_task_that_gives_nan_is_refused(tmp_path: Path) -> None:
    class Bad(TokenTask):
        def judge(self, output: Any, batch: Any) -> dict[str, Tensor]:
            return {"loss": torch.full((len(batch.reference["next"]),), torch.nan)}

    files = saved(byte_gpt, tmp_path)
    with pytest.raises(InputError, match="loss of example 0 is nan"):
        streamed(byte_gpt, files, [Bad(keyword="tokens")])
