"""Score block by block in a process of its own: prints bytes of experts, bytes read, bytes added at most."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from token_task import TokenTask
from torch import Tensor, nn

from m2m.checkpoint import Checkpoint, save
from m2m.scoring import score_streamed
from m2m.setups.byte_gpt import ByteGPT, Shape

SIZES = {"layers": 6, "width": 512, "context": 64}
SMALL = {"layers": 1, "width": 64, "context": 64}


def byte_gpt(layers: int, width: int, context: int) -> nn.Module:
    return ByteGPT(Shape(layers=layers, width=width, heads=8, context=context))


def llama(layers: int, width: int, context: int) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 3 * width}
    return LlamaForCausalLM(LlamaConfig(vocab_size=256, num_attention_heads=8, use_cache=False, **sizes))


def make_holes() -> list[Tensor]:
    """Leave 64 MiB free in the heap, between tensors that stay: as in a process that has worked before."""
    return [torch.ones(2**18) for _ in range(128)][::2]


def status(key: str) -> int:
    [kib] = re.findall(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    return int(kib) * 1024


def saved(build: Callable[[], nn.Module], folder: Path) -> list[Checkpoint]:
    for seed in range(5):
        torch.manual_seed(seed)
        save(build().state_dict(), folder / str(seed))
    return [Checkpoint(folder / str(seed)) for seed in range(5)]


def main(folder: Path, model: str, memory: int, candidates: int) -> None:
    make, keyword = {"byte gpt": (byte_gpt, "tokens"), "llama": (llama, "input_ids")}[model]
    base, *experts = saved(lambda: make(**SMALL), folder / "small")
    weights = torch.rand(candidates, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    few = TokenTask(count=1, length=4, vocabulary=256, keyword=keyword)
    # libraries take what they keep
    score_streamed(lambda: make(**SMALL), base, experts, weights[:1], [few], memory=memory)
    base, *experts = saved(lambda: make(**SIZES), folder / "large")
    kept = make_holes()
    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    task = TokenTask(count=16, length=64, vocabulary=256, size=4, keyword=keyword)
    done = score_streamed(lambda: make(**SIZES), base, experts, weights, [task], memory=memory)
    size = sum(tensor.nbytes for expert in experts for tensor in expert.tensors.values())
    print(size, done.counts.bytes_read, status("VmHWM") - before)
    del kept


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) * 2**20, int(sys.argv[4]))
