"""Score block by block in a process of its own: prints bytes of experts, bytes read, bytes added at most."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path

import torch
from token_task import TokenTask
from torch import nn

from m2m.checkpoint import Checkpoint, save
from m2m.evaluate import score_streamed
from m2m.setups.byte_gpt import ByteGPT, Shape

SHAPE = Shape(layers=6, width=512, heads=8, context=64)


def build() -> nn.Module:
    return ByteGPT(SHAPE)


def status(key: str) -> int:
    [kib] = re.findall(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    return int(kib) * 1024


def main(folder: Path, memory: int, candidates: int) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        save(build().state_dict(), folder / str(seed))
    base, *experts = [Checkpoint(folder / str(seed)) for seed in range(5)]
    weights = torch.rand(candidates, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    few = TokenTask(count=1, length=4, vocabulary=256, keyword="tokens")
    score_streamed(build, base, experts, weights[:1], [few], memory=memory)  # libraries take what they keep
    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    task = TokenTask(count=16, length=64, vocabulary=256, size=4, keyword="tokens")
    done = score_streamed(build, base, experts, weights, [task], memory=memory)
    size = sum(tensor.nbytes for expert in experts for tensor in expert.tensors.values())
    print(size, done.bytes_read, status("VmHWM") - before)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) * 2**20, int(sys.argv[3]))
