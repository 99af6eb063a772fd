"""The byte-level language model: a small GPT, pretrained here once on text that a configuration names.

Every file is already its tokens, so text of any kind needs no tokenizer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from m2m.errors import ConfigError
from m2m.setups.byte_gpt_options import Pretraining, Shape, read_table
from m2m.setups.kept_tensors import keep_tensors, kept_tensors
from m2m.setups.rows.answers import Answered, Which, in_bytes
from m2m.setups.rows.formats import Chat, Completion
from m2m.support.devices import one_thread
from m2m.support.progress import Progress

#: Tokens are the 256 byte values.
VOCABULARY = 256
#: Changes when pretraining would give other weights from the same text and options.
REVISION = 1


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: causal self-attention, then a GELU layer of four times the width."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attention_norm = nn.LayerNorm(shape.width)
        self.query_key_value = nn.Linear(shape.width, 3 * shape.width)
        self.attention_out = nn.Linear(shape.width, shape.width)
        self.mlp_norm = nn.LayerNorm(shape.width)
        self.mlp_in = nn.Linear(shape.width, 4 * shape.width)
        self.mlp_out = nn.Linear(4 * shape.width, shape.width)

    def attend(self, x: Tensor) -> Tensor:
        """Mix positions, each looking at itself and what came before: normalised [B, T, D] to [B, T, D]."""
        batch, length, width = x.shape
        heads = self.query_key_value(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: [B, T, D] to [B, T, D]."""
        x = x + self.attend(self.attention_norm(x))
        out: Tensor = x + self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh"))
        return out


class ByteGPT(nn.Module):
    """Byte-level GPT with learned positions and an untied head; 0.87 M parameters in the default shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.bytes = nn.Embedding(VOCABULARY, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(TransformerBlock(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, VOCABULARY, bias=False)

    def initialise(self, seed: int) -> None:
        """Draw the weights as GPT-2: normal, std 0.02, and 0.02/√(2·layers) into the residual stream."""
        generator = torch.Generator().manual_seed(seed)
        into_stream = 0.02 / math.sqrt(2 * len(self.blocks))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif parameter.ndim == 2:
                    std = into_stream if name.endswith("_out.weight") else 0.02
                    parameter.normal_(0, std, generator=generator)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Run everything but the head: byte values, int64 [B, T] to [B, T, D]."""
        x = self.bytes(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def forward(self, tokens: Tensor) -> Tensor:
        """Predict the next byte: byte values, int64 [B, T] to logits [B, T, 256]."""
        logits: Tensor = self.head(self.hidden(tokens))
        return logits


@dataclass(frozen=True)
class ByteModel:
    """A byte GPT and the text it is pretrained on.

    Attributes:
        shape: Size of the model.
        pretraining: How it is pretrained.
        text: Pretraining text, uint8. [bytes]
    """

    shape: Shape
    pretraining: Pretraining
    text: Tensor
    token_type = torch.uint8

    @property
    def context(self) -> int:
        """Longest input, in bytes."""
        return self.shape.context

    @property
    def version(self) -> str:
        """Content hash of text and options."""
        described = repr((REVISION, asdict(self.shape), asdict(self.pretraining)))
        return hashlib.sha256(described.encode() + self.text.numpy().tobytes()).hexdigest()[:16]

    def encode(self, documents: Sequence[str]) -> Tensor:
        """Turn documents into one row of bytes, a newline between them: uint8 [bytes]."""
        return encode_bytes(documents)

    def answered(self, document: Chat | Completion, which: Which) -> Answered:
        """Turn a question with its answer into bytes (see `in_bytes`)."""
        return in_bytes(document, which)

    def build(self) -> ByteGPT:
        """Return a new module; its weights are not drawn yet."""
        return ByteGPT(self.shape)

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀, pretrained on first use and kept under `cache`."""
        path = self._kept(cache)
        if not path.exists():
            model = self._drawn()
            with one_thread():
                _pretrain(model, self.text, self.pretraining, progress)
            keep_tensors(model.state_dict(), path)
        return kept_tensors(path)

    def drawn_state(self, cache: Path) -> dict[str, Tensor] | None:
        """Return the weights that pretraining begins with; None where θ₀ is kept under `cache`."""
        return None if self._kept(cache).exists() else self._drawn().state_dict()

    def _drawn(self) -> ByteGPT:
        model = self.build()
        model.initialise(self.pretraining.seed)
        return model

    def _kept(self, cache: Path) -> Path:
        return cache / "base" / f"byte-gpt-{self.version}.pt"

    def inputs(self, tokens: Tensor, learnt: Tensor | None = None) -> dict[str, Tensor]:
        """Name tokens as the model's forward does: int64 [B, T]; it gives logits whatever is learnt."""
        return {"tokens": tokens}

    def hidden(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """Run everything but the head: byte values, int64 [B, T] to [B, T, D]."""
        assert isinstance(model, ByteGPT)
        return model.hidden(tokens)


def from_table(
    table: Mapping[str, Any], root: Path, cache: Path, where: str, progress: Progress | None = None
) -> ByteModel:
    """Make the model of a `[setup.base]` table; nothing is pretrained yet."""
    shape, pretraining, sources = read_table(table, where)
    documents = []
    for source in sources:
        documents += source.texts(root, cache, progress)
    text = encode_bytes(documents)
    if len(text) <= shape.context:
        raise ConfigError(
            f"{where}: pretraining text has {len(text)} bytes, wanted more than {shape.context}"
        )
    return ByteModel(shape, pretraining, text)


def encode_bytes(documents: Sequence[str]) -> Tensor:
    """Turn documents into one row of bytes, a newline between them: uint8 [bytes]."""
    # A copy, since torch wants memory that it may write to.
    return torch.from_numpy(np.frombuffer("\n".join(documents).encode(), dtype=np.uint8).copy())


def _pretrain(model: ByteGPT, text: Tensor, options: Pretraining, progress: Progress | None) -> None:
    """Train on random windows of the text."""
    generator = torch.Generator().manual_seed(options.seed)
    context = model.positions.num_embeddings
    window = torch.arange(context + 1)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(options.steps):
        starts = torch.randint(len(text) - context, (options.batch, 1), generator=generator)
        tokens = text[starts + window].long()
        loss = functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.param_groups[0]["lr"] = options.rate(step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if progress:
            progress(step + 1, options.steps, "pretraining the base model")
