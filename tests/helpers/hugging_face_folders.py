"""Tiny Hugging Face folders, made on the spot: a byte-level tokenizer and a Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

#: What a loss of the Llama with 4 blocks may change by where other rows run beside its own: the order in
#: which a matrix product sums its up to 32 terms changes a sum by γ₃₂ of its terms' sizes; a window goes
#: through 4 blocks of 7 products. Norms after each keep what is passed on at the same size, so that their
#: errors add up.
ROUNDING = 4 * 7 * 32 * 2.0**-24


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of bytes, with `<end>` as its 257th token."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate([*alphabet, "<end>"])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.save_pretrained(folder)


def write_llama(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Write a Llama of width 16 with random weights, and its tokenizer."""
    import transformers

    sizes = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    wanted = {"tie_word_embeddings": True, "eos_token_id": 256, **config}
    torch.manual_seed(seed)
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**sizes, **heads, **wanted}))
    llama.save_pretrained(folder)
    write_tokenizer(folder)
    return folder
