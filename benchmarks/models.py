"""Make Llama-shaped checkpoints of a wanted size: a base model and experts a few per cent away.

python benchmarks/models.py FOLDER EXPERTS LAYERS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from m2m.checkpoint import save

#: Share of a weight's size that an expert moves by.
DRIFT = 0.05


def llama(layers: int, hidden: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """List the tensors of a Llama of this shape.

    Args:
        layers: Number of layers.
        hidden: Width.
        vocabulary: Tokens.

    Returns:
        Shape by name.
    """
    inner = hidden * 11 // 4
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
        shapes |= {f"{at}mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{at}{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def make(
    folder: Path,
    experts: int,
    layers: int,
    hidden: int = 2048,
    vocabulary: int = 32000,
    dtype: torch.dtype = torch.bfloat16,
) -> list[Path]:
    """Write a base model and experts, unless they are there.

    Args:
        folder: Where their folders go.
        experts: Number of experts N.
        layers: Number of layers.
        hidden: Width.
        vocabulary: Tokens.
        dtype: The weights' type.

    Returns:
        The checkpoint folders, the base first. [N + 1]
    """
    paths = [folder / name for name in ("base", *(f"e{n + 1}" for n in range(experts)))]
    shapes = llama(layers, hidden, vocabulary)
    for n, path in enumerate(paths):
        if not path.exists():
            save({name: _weights(name, shape, n).to(dtype) for name, shape in shapes.items()}, path)
            _write_config(path, layers, hidden, vocabulary, dtype)
    return paths


def _weights(name: str, shape: tuple[int, ...], n: int) -> Tensor:
    # the base from one seed, the expert's way from another, so that no model needs another one in memory
    base = torch.randn(shape, generator=torch.Generator().manual_seed(len(name) * 7919 + sum(map(ord, name))))
    if n:
        base += DRIFT * torch.randn(shape, generator=torch.Generator().manual_seed(n))
    return 0.02 * base


def _write_config(folder: Path, layers: int, hidden: int, vocabulary: int, dtype: torch.dtype) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": hidden * 11 // 4,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 64,
        "num_hidden_layers": layers,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
