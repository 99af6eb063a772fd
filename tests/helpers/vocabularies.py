"""Tiny models whose vocabularies differ: tokenizers made on the spot, and Llamas with rows for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LINES = ["the capital of France is Paris", "a café and a tea, please", "one two three four", "def add(a, b):"]


def byte_pairs(size: int, lines: Sequence[str] = LINES) -> Tokenizer:
    """Train a byte-level BPE tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*lines] * 5, trainer)
    return tokenizer


def word_pieces(size: int) -> Tokenizer:
    """Train a WordPiece tokenizer, as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, show_progress=False, special_tokens=["[UNK]", "[PAD]"]
    )
    tokenizer.train_from_iterator(LINES * 5, trainer)
    return tokenizer


def unigrams(size: int) -> Tokenizer:
    """Train a unigram tokenizer, as T5's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, show_progress=False, special_tokens=["<unk>", "<pad>"], unk_token="<unk>"
    )
    tokenizer.train_from_iterator(LINES * 5, trainer)
    return tokenizer


def add_special(tokenizer: Tokenizer, *tokens: str) -> Tokenizer:
    """Add tokens that no text is cut in."""
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    return tokenizer


def shuffled(tokenizer: Tokenizer, seed: int = 0) -> Tokenizer:
    """Give the tokens of a BPE model other ids; added ones keep theirs."""
    content = json.loads(tokenizer.to_str())
    vocab = content["model"]["vocab"]
    order = torch.randperm(len(vocab), generator=torch.Generator().manual_seed(seed)).tolist()
    content["model"]["vocab"] = {token: order[number] for token, number in vocab.items()}
    return Tokenizer.from_str(json.dumps(content))


def write_model(
    folder: Path, tokenizer: Tokenizer, seed: int = 0, *, rows: int | None = None, **config: Any
) -> Path:
    """Write a Llama of width 16 with random weights and a row a token, and its tokenizer."""
    import transformers

    special = {key: config.pop(key) for key in [*config] if key.endswith("_token")}
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    ids = {f"{key}_id": tokenizer.token_to_id(token) for key, token in special.items()}
    known = {"tie_word_embeddings": False, "vocab_size": rows or tokenizer.get_vocab_size(), **ids, **config}
    torch.manual_seed(seed)
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads, **known))
    llama.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


def write_words(folder: Path, tokens: Mapping[str, int]) -> None:
    """Write a tokenizer of whole words beside a state."""
    content = {
        "version": "1.0", "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": dict(tokens), "unk_token": next(iter(tokens))},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
