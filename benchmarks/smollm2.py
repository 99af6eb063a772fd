"""Make SmolLM2-135M and experts, as Hugging Face folders for benchmarks/evaluate.py.

python benchmarks/smollm2.py FOLDER [--experts 4]      (needs the extra `gguf`)

The base is what `model = "smollm2-135m-instruct"` names in a configuration: 4-bit weights (Q4_1), widened to
float32. Experts are the base plus noise of 1 % of each tensor's size: what the weights are does not matter
for time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from m2m.data import cache_dir
from m2m.setups.packaged_models import packaged_model

NOISE = 0.01


def make(folder: Path, experts: int) -> None:
    """Write `base`, `expert0`, `expert1` ... unless they are there.

    Args:
        folder: Where the model folders go.
        experts: Number of experts N.
    """
    from transformers import AutoModelForCausalLM

    base = folder / "base"
    if not base.exists():
        folder.mkdir(parents=True, exist_ok=True)
        base.symlink_to(packaged_model("smollm2-135m-instruct", cache_dir()), target_is_directory=True)
    for number in range(experts):
        expert = folder / f"expert{number}"
        if not expert.exists():
            model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=False)
            generator = torch.Generator().manual_seed(number)
            with torch.no_grad():
                for weight in model.parameters():
                    weight += NOISE * weight.std() * torch.randn(weight.shape, generator=generator)
            model.save_pretrained(expert)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--experts", type=int, default=4)
    arguments = parser.parse_args()
    make(arguments.folder, arguments.experts)
