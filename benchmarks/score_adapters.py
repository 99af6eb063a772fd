"""What forming candidates of LoRA experts in memory costs, beside those of whole experts.

python benchmarks/score_adapters.py FOLDER [--rank 16] [--experts 4] [--rounds 5]   (needs the extra `gguf`)

SmolLM2-135M in float32 with adapters on all linear layers, whose numbers are random (they do not matter for
time). A pass merges four candidates into memory; `whole` is the same of as many whole experts. CPU seconds of
one thread, the two in turn, medians; and the bits of one tensor are held against the reference twin.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from m2m.checkpoint import Checkpoint, save
from m2m.data import cache_dir
from m2m.merging.lora import AdaptedCheckpoint, Adapter
from m2m.merging.lora.terms import merge_adapted
from m2m.scoring import LiveModel
from m2m.scoring.adapted_sums import adapted_sums
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.live.mapped import mapped_state
from m2m.setups.packaged_models import packaged_model

#: Candidates a pass.
AHEAD = 4
CHECKED = "model.layers.3.mlp.up_proj.weight"


def make_adapters(folder: Path, base: nn.Module, count: int, rank: int) -> list[Path]:
    """Write adapters on all linear layers but the head, as PEFT does, unless they are there.

    Args:
        folder: Where their folders go.
        base: The base model.
        count: How many.
        rank: Of their factors.

    Returns:
        Their folders. [count]
    """
    folders = [folder / f"rank{rank}-{number}" for number in range(count)]
    for seed, place in enumerate(folders):
        if place.exists():
            continue
        generator, factors = torch.Generator().manual_seed(seed), {}
        for name, layer in base.named_modules():
            if isinstance(layer, nn.Linear) and name != "lm_head":
                sizes = {"A": (rank, layer.in_features), "B": (layer.out_features, rank)}
                for side, size in sizes.items():
                    factor = 0.02 * torch.randn(size, generator=generator)
                    factors[f"base_model.model.{name}.lora_{side}.weight"] = factor
        save(factors, place)
        (place / "model.safetensors").rename(place / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}
        (place / "adapter_config.json").write_text(json.dumps(config))
    return folders


def measure(live: Sequence[LiveModel], rows: Sequence[np.ndarray]) -> list[float]:
    """Time passes of live models in turn, each with other weights: the same are not merged twice.

    Args:
        live: The models.
        rows: Merging weights of each pass; the first one only touches the memory. each [AHEAD, N]

    Returns:
        Median CPU seconds of a pass of each model.
    """
    seconds: list[list[float]] = [[] for _ in live]
    for weights in rows:
        for model, times in zip(live, seconds, strict=True):
            start = time.process_time()
            model.merge_ahead(weights, threads=1)
            times.append(time.process_time() - start)
    return [statistics.median(times[1:]) for times in seconds]


def main() -> None:
    """Measure, and print a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    place = packaged_model("smollm2-135m-instruct", cache_dir())
    folder, base = HuggingFaceFolder(place), Checkpoint(place)
    paths = make_adapters(args.folder, folder.build(), args.experts, args.rank)
    experts = [AdaptedCheckpoint(base, Adapter(path)) for path in paths]
    state = mapped_state(base)
    adapted = LiveModel(folder.build(), state, [state] * args.experts, sums=adapted_sums(base, experts))
    copies = [{name: tensor.clone() for name, tensor in state.items()} for _ in experts]
    whole = LiveModel(folder.build(), state, copies)
    draws = np.random.default_rng(0)
    rows = [draws.dirichlet(np.ones(args.experts), size=AHEAD) for _ in range(args.rounds + 1)]
    adapters_s, whole_s = measure([adapted, whole], rows)
    adapted.show(0)
    twin = merge_adapted([*zip(experts, rows[-1][0].tolist(), strict=True)], CHECKED)
    assert torch.equal(adapted.model.state_dict()[CHECKED], twin)
    print(json.dumps({
        "adapters": args.experts, "rank": args.rank, "candidates": AHEAD,
        "pass_cpu_s": adapters_s, "whole_cpu_s": whole_s, "ratio": adapters_s / whole_s,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
