"""`adapter_config.json`: what PEFT wrote about an adapter, understood or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m2m.errors import CheckpointError
from m2m.merging.lora.patterns import of_module, pattern_fault
from m2m.support.doors import read_json

#: File name in an adapter's folder.
NAME = "adapter_config.json"

#: Keys that are read here, and keys that say how an adapter was trained, not what it adds to the weights.
_KNOWN = frozenset({
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config",
    "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_bias",
    "lora_dropout", "lora_ga_config", "megatron_core", "modules_to_save", "peft_type", "peft_version",
    "target_parameters",
    "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules", "task_type",
    "use_dora", "use_rslora",
})  # fmt: skip

#: Keys under which an adapter is more than W + s·BA, and how it then works.
_REFUSED = {
    "use_qalora": "QA-LoRA pools its inputs",
    "use_bdlora": "its factors are block-diagonal",
    "arrow_config": "it is routed to token by token",
    "layer_replication": "it repeats layers of the base model",
    "alora_invocation_tokens": "it acts only after certain tokens",
    "trainable_token_indices": "it replaces single rows of the embedding",
    "megatron_config": "its layers are split over devices",
}

#: Initialisations that leave the base model as it is; others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) change it.
_PLAIN_STARTS = frozenset({"gaussian", "eva", "orthogonal"})


@dataclass(frozen=True)
class LoraConfig:
    """What an adapter's configuration says about its weights."""

    #: The file.
    path: Path
    #: r where no pattern says otherwise.
    rank: int
    #: α where no pattern says otherwise.
    alpha: float
    #: Whether the scale is α/√r (arXiv 2312.03732) instead of α/r (arXiv 2106.09685).
    rslora: bool = False
    #: Ends of the names of parameters that are no layer's weight, as those of fused experts.
    parameters: tuple[str, ...] = ()
    #: Whether rows of W + s·BA are scaled to magnitudes of their own (DoRA, arXiv 2402.09353).
    dora: bool = False
    #: Whether the last adapted layer stores its weight as [in, out]; see `layout`.
    fan_in_fan_out: bool = False
    #: Name of the base model it was trained on, if it tells.
    base_model: str | None = None
    #: r by pattern of module names, tried in order.
    ranks: Mapping[str, int] = field(default_factory=dict)
    #: α by pattern of module names, tried in order.
    alphas: Mapping[str, float] = field(default_factory=dict)
    #: Whether embedding and head, where they are tied, were adapted as one (`ensure_weight_tying`).
    ties_weights: bool = False
    #: What PEFT takes the model for, if it tells.
    task_type: str | None = None

    @property
    def about(self) -> dict[str, str | None]:
        """What an adapter of the same base model says about it."""
        return {"base_model_name_or_path": self.base_model, "task_type": self.task_type}

    def rank_of(self, module: str) -> int:
        """R of a module, by PEFT's name."""
        return int(of_module(self.ranks, module, self.rank))

    def scale_of(self, module: str) -> float:
        """The factor before B·A of a module: α/r, or α/√r."""
        rank = self.rank_of(module)
        return float(of_module(self.alphas, module, self.alpha)) / (math.sqrt(rank) if self.rslora else rank)


def read_config(folder: Path) -> LoraConfig:
    """Read an adapter's configuration; refuse what is not LoRA's B·A added to weights."""
    path = folder / NAME
    data: dict[str, Any] = read_json(path, "an adapter's configuration", CheckpointError, {})
    _refuse_variants(path, data)
    base = data.get("base_model_name_or_path")
    return LoraConfig(
        path=path,
        rank=_positive(path, "r", data.get("r", 8), whole=True),
        alpha=_positive(path, "lora_alpha", data.get("lora_alpha", 8)),
        rslora=_flag(path, "use_rslora", data),
        parameters=_names(path, "target_parameters", data.get("target_parameters")),
        dora=_flag(path, "use_dora", data),
        fan_in_fan_out=_flag(path, "fan_in_fan_out", data),
        base_model=base if isinstance(base, str) and base else None,
        ranks=_patterns(path, "rank_pattern", data.get("rank_pattern"), whole=True),
        alphas=_patterns(path, "alpha_pattern", data.get("alpha_pattern")),
        ties_weights=_flag(path, "ensure_weight_tying", data),
        task_type=data.get("task_type"),
    )


def _refuse_variants(path: Path, data: dict[str, Any]) -> None:
    kind = data.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{path}: peft_type is {kind!r}; only LORA adapters are merged")
    for key, value in data.items():
        if key in _KNOWN or not value:
            continue
        why = _REFUSED.get(key, "this key of a newer PEFT is not known here")
        raise CheckpointError(
            f"{path}: {key} is {value!r:.80}: {why}, so the expert is not W + s·BA; "
            "merge it into its base model with PEFT first"
        )
    start = data.get("init_lora_weights", True)
    if not isinstance(start, bool) and start not in _PLAIN_STARTS:
        raise CheckpointError(
            f"{path}: init_lora_weights is {start!r:.80}: it changed the base model's weights too; save the "
            "adapter with path_initial_model_for_weight_conversion, or merge it into its base model with PEFT"
        )


def _names(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | None) or not all(isinstance(name, str) for name in value or ()):
        raise CheckpointError(f"{path}: {key} must be a list of names, got {value!r:.80}")
    return tuple(value or ())


def _flag(path: Path, key: str, data: Mapping[str, Any]) -> bool:
    value = data.get(key)
    if not isinstance(value, bool | None):
        raise CheckpointError(f"{path}: {key} must be true or false, got {value!r:.80}")
    return bool(value)


def _positive(path: Path, key: str, value: object, *, whole: bool = False) -> Any:
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:  # type: ignore[operator]
        kind = "whole number" if whole else "number"
        raise CheckpointError(f"{path}: {key} must be a {kind} above 0, got {value!r:.80}")
    return value


def _patterns(path: Path, key: str, table: object, *, whole: bool = False) -> dict[str, Any]:
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: {key} must be a table by module name, got {table!r:.80}")
    for pattern, value in table.items():
        _positive(path, f"{key}[{pattern!r}]", value, whole=whole)
        if fault := pattern_fault(pattern):
            raise CheckpointError(
                f"{path}: {key} has the pattern {pattern!r:.80}, which cannot be used: {fault}"
            )
    return table
