"""The `[setup.base]` table of the byte GPT: its size, how it is pretrained and on what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from m2m.errors import ConfigError
from m2m.setups.text import TextSource
from m2m.support.checked import Natural, Positive
from m2m.support.names import check_names
from m2m.support.options import key_names
from m2m.support.schema import check_keys

Options = TypeVar("Options", "Shape", "Pretraining")


@dataclass(frozen=True)
class Shape:
    """Size of a byte GPT.

    Attributes:
        layers: Number of blocks.
        width: Width of the residual stream; a multiple of `heads`.
        heads: Attention heads a block.
        context: Longest input, in bytes.
    """

    layers: Positive = 4
    width: Positive = 128
    heads: Positive = 4
    context: Positive = 128


@dataclass(frozen=True)
class Pretraining:
    """How the base model is pretrained: AdamW, warm-up over a tenth of the steps, cosine decay to 0.

    Attributes:
        steps: Optimiser steps.
        batch: Sequences a step.
        learning_rate: Highest learning rate.
        seed: Seed of the weights and of the sampling.
    """

    steps: Positive = 500
    batch: Positive = 16
    learning_rate: float = 2e-3
    seed: Natural = 0

    def rate(self, step: int) -> float:
        """Learning rate after `step` steps."""
        warm_up = max(1, self.steps // 10)
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (self.steps - warm_up)))


@dataclass(frozen=True)
class BaseText:
    """What the base model is pretrained on.

    Attributes:
        text: Tables `[setup.base.text.NAME]`.
    """

    text: Mapping[str, TextSource]


def read_table(table: Mapping[str, Any], where: str) -> tuple[Shape, Pretraining, list[TextSource]]:
    """Read the table.

    Args:
        table: The table.
        where: Its name, which messages begin with.

    Returns:
        The model's size, how it is pretrained, and on what.

    Raises:
        ConfigError: If a key is unknown, missing or mistyped.
    """
    check_keys(table, key_names(Shape, Pretraining, BaseText), where)
    shape, pretraining = _options(Shape, table, where), _options(Pretraining, table, where)
    if shape.width % shape.heads:
        raise ConfigError(f"{where}: `width` {shape.width} must be a multiple of `heads` {shape.heads}")
    return shape, pretraining, _text_sources(table, where)


def _options(kind: type[Options], table: Mapping[str, Any], where: str) -> Options:
    # A value has its default's type and is above zero; a seed may be zero.
    values = {key: table[key] for key in key_names(kind) if key in table}
    for key, value in values.items():
        wanted = type(getattr(kind, key))
        if type(value) is not wanted or value < 0 or (value == 0 and key != "seed"):
            raise ConfigError(f"{where}: `{key}` must be a positive {wanted.__name__}, got {value!r}")
    return kind(**values)


def _text_sources(table: Mapping[str, Any], where: str) -> list[TextSource]:
    text = table.get("text")
    prefix = f"{where[:-1]}.text."
    if (
        not isinstance(text, dict)
        or not text
        or not all(isinstance(source, dict) for source in text.values())
    ):
        raise ConfigError(f"{where}: wanted tables {prefix}NAME] that say what to pretrain on")
    check_names(text, f"{where[:-1]}.text]: base text")
    for name, source in text.items():
        check_keys(source, key_names(TextSource), f"{prefix}{name}]")
    return [TextSource.parse(source, f"{prefix}{name}]") for name, source in text.items()]
