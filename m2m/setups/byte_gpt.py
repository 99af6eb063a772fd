"""A small byte-level GPT: every file is already its tokens, so text of any kind needs no tokenizer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Tokens are the 256 byte values.
VOCABULARY = 256


@dataclass(frozen=True)
class Shape:
    """Size of a byte GPT.

    Attributes:
        layers: Number of blocks.
        width: Width of the residual stream; a multiple of `heads`.
        heads: Attention heads a block.
        context: Longest input, in bytes.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    context: int = 128


class Block(nn.Module):
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
        """Mix positions, each looking at itself and what came before.

        Args:
            x: Normalised residual stream. [B, T, D]

        Returns:
            What attention adds to the stream. [B, T, D]
        """
        batch, length, width = x.shape
        heads = self.query_key_value(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: Residual stream. [B, T, D]

        Returns:
            Residual stream after the block. [B, T, D]
        """
        x = x + self.attend(self.attention_norm(x))
        out: Tensor = x + self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh"))
        return out


class ByteGPT(nn.Module):
    """Byte-level GPT with learned positions and an untied head; 0.87 M parameters in the default shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.bytes = nn.Embedding(VOCABULARY, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, VOCABULARY, bias=False)

    def initialise(self, seed: int) -> None:
        """Draw the starting weights: normal, std 0.02, and 0.02/√(2·layers) into the residual stream (GPT-2).

        Args:
            seed: Seed of the draw.
        """
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
        """Run everything but the head.

        Args:
            tokens: Byte values, int64. [B, T]

        Returns:
            Normalised residual stream. [B, T, D]
        """
        x = self.bytes(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def forward(self, tokens: Tensor) -> Tensor:
        """Predict the next byte at each position.

        Args:
            tokens: Byte values, int64. [B, T]

        Returns:
            Logits. [B, T, 256]
        """
        logits: Tensor = self.head(self.hidden(tokens))
        return logits
