"""A tiny Llama with a byte-level tokenizer, as a folder; experts are the base plus noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer whose tokens are bytes, and one that ends a text."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate([*alphabet, "<end>"])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.save_pretrained(folder)


def write_llama(
    folder: Path, seed: int = 0, noise: float = 0.0, dtype: torch.dtype = torch.float32, classes: int = 0
) -> Path:
    """Write the base model, with noise of this standard deviation and seed added to every parameter."""
    import transformers

    sizes: dict[str, Any] = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    more: dict[str, Any] = {"num_labels": classes, "pad_token_id": 256} if classes else {}
    config = transformers.LlamaConfig(
        **sizes, **heads, **more, max_position_embeddings=64, tie_word_embeddings=True, eos_token_id=256,
        initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    kind = transformers.LlamaForSequenceClassification if classes else transformers.LlamaForCausalLM
    model = kind(config).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += noise * torch.randn(parameter.shape, generator=generator).to(dtype)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder
