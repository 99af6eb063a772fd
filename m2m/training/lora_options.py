"""The `[train.lora]` table."""

from __future__ import annotations

from dataclasses import dataclass

from m2m.errors import ConfigError
from m2m.support.checked import Positive
from m2m.support.schema import check_whole


@dataclass(frozen=True)
class LoraOptions:
    """The `[train.lora]` table: which layers get factors, and of what size.

    Attributes:
        r: Rank of the factors.
        alpha: The factors' product is scaled by alpha / r.
        dropout: Share of a layer's inputs that the factors do not see in a step.
        target_modules: Names of linear layers, or what they end in, such as `q_proj`; empty: all linear
            layers but the output head. Only layers count that `trainable` of `[setup.base]` has trained.
        rslora: Whether the scale is alpha / √r.
        dora: Whether rows are rescaled too (DoRA); experts are then whole models and not adapters.
    """

    r: Positive = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    rslora: bool = False
    dora: bool = False

    def __post_init__(self) -> None:
        check_whole("train.lora.r", self.r, 1)
        if not 0 < self.alpha < float("inf"):
            raise ConfigError(f"train.lora.alpha must be above 0 and finite, got {self.alpha!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"train.lora.dropout must be at least 0 and below 1, got {self.dropout!r}")
