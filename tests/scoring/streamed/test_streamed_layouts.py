"""The law of streaming over Hugging Face layouts as users have them: sharded or not, tied or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from helpers.token_task import TokenTask
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.checkpoint import Checkpoint
from m2m.scoring import score_resident, score_streamed
from m2m.scoring.live.huggingface import HuggingFaceFolder

transformers: Any = pytest.importorskip("transformers", reason="needs the extra `huggingface`")

EXPERTS = 2
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
LAYOUTS: dict[str, dict[str, int]] = {"Llama": HEADS, "Qwen2": HEADS, "GPTNeoX": {"num_attention_heads": 4}}
CONFIGS = st.fixed_dictionaries(
    {
        "num_hidden_layers": st.integers(1, 3),
        "hidden_size": st.sampled_from([16, 48]),
        "intermediate_size": st.sampled_from([24, 64]),
        "tie_word_embeddings": st.booleans(),
    }
)


@contextmanager
def folders(layout: str, config: dict[str, Any], dtype: torch.dtype, shard: str) -> Iterator[list[Path]]:
    """A base and experts, as their trainers leave them."""
    made = getattr(transformers, f"{layout}Config")(vocab_size=64, **LAYOUTS[layout], **config)
    with TemporaryDirectory() as name:
        paths = [Path(name, str(seed)) for seed in range(EXPERTS + 1)]
        for seed, path in enumerate(paths):
            torch.manual_seed(seed)
            model = getattr(transformers, f"{layout}ForCausalLM")(made).to(dtype)
            model.save_pretrained(path, max_shard_size=shard)
        yield paths


@pytest.fixture(autouse=True, scope="module")
def _no_bars() -> None:
    transformers.utils.logging.disable_progress_bar()


@settings(max_examples=12)
@given(
    layout=st.sampled_from([*LAYOUTS]),
    config=CONFIGS,
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    shard=st.sampled_from(["12KB", "1GB"]),
    weights=st.lists(st.tuples(*[st.floats(-1, 2)] * EXPERTS), min_size=1, max_size=4),
    task=st.builds(TokenTask, st.integers(1, 4), st.integers(2, 9), st.just(64), st.integers(1, 3)),
    spare=st.integers(0, 2**21),
)
def test_streamed_scores_have_the_bits_of_resident_ones(
    layout: str,
    config: dict[str, Any],
    dtype: torch.dtype,
    shard: str,
    weights: list[tuple[float, ...]],
    task: TokenTask,
    spare: int,
) -> None:
    with folders(layout, config, dtype, shard) as paths:
        files = [Checkpoint(path) for path in paths]
        base, *experts = [file.state() for file in files]
        folder = HuggingFaceFolder(paths[0])
        wanted = score_resident(folder.build(), base, experts, weights, [task], layout=folder.layout())
        got = score_streamed(
            folder.build_empty,
            files[0],
            files[1:],
            weights,
            [task],
            memory=5 * 2**20 + spare,
            layout=folder.layout,
        )
    for [a], [b] in zip(wanted, got.scores, strict=True):
        assert np.array_equal(a.values["loss"], b.values["loss"])
