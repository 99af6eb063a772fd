"""What a merged model's `config.json` says otherwise than the donor's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from m2m.checkpoint.header import TORCH_NAMES
from m2m.merging.recipe.modules import part_of

#: Where the number of layers of a part of a model stands: in a table of its own or at the top, by these keys.
_TABLES = {"text": ("text_config", "llm_config"), "vision": ("vision_config",)}
_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "depth")
_COUNTS_OF = {
    "encoder": ("encoder_layers", "num_encoder_layers", "num_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers"),
}


@dataclass(frozen=True)
class ConfigChanges:
    """What is true of a merged model and not of its donor.

    Attributes:
        dtype: Safetensors name of the float type of all weights, if there is one.
        stacked: By module, None for the whole model, the donor's layer that each layer is.
        says: Other keys, wherever they stand already, in the parts of a model of several too.
        architecture: Name of the model's class, if the recipe gives one.
    """

    dtype: str | None = None
    stacked: Mapping[str | None, Sequence[int]] = field(default_factory=dict)
    says: Mapping[str, object] = field(default_factory=dict)
    architecture: str | None = None

    def applied(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The donor's configuration with these changes; an empty one stays empty."""
        if not config:
            return {}
        told = dict(config)
        if self.dtype is not None:
            told["dtype" if "dtype" in told else "torch_dtype"] = TORCH_NAMES[self.dtype]
        if self.architecture is not None:
            told["architectures"] = [self.architecture]
        for module, layers in self.stacked.items():
            told = _with_layers(told, None if module is None else part_of(module), layers)
        return _saying(told, self.says)


def _with_layers(config: dict[str, Any], part: str | None, layers: Sequence[int]) -> dict[str, Any]:
    for table in _TABLES.get(part or "text", ()):
        if isinstance(config.get(table), dict):
            return config | {table: _counted(config[table], _COUNTS, layers)}
    return _counted(config, _COUNTS_OF.get(part or "", _COUNTS), layers)


def _counted(config: Mapping[str, Any], keys: Sequence[str], layers: Sequence[int]) -> dict[str, Any]:
    # Lists with an entry a layer (`layer_types`) follow the layers.
    counts = [config[key] for key in keys if key in config]
    told = {**config, **{key: len(layers) for key in keys if key in config}}
    for key, value in config.items():
        if isinstance(value, list) and len(value) in counts and max(layers) < len(value):
            told[key] = [value[layer] for layer in layers]
    return told


def _saying(config: Mapping[str, Any], says: Mapping[str, object]) -> dict[str, Any]:
    # A key goes where it stands already, in a part or in several; else to the top.
    told = {}
    said: set[str] = set()
    for key, value in config.items():
        part = {own: says[own] for own in says if isinstance(value, dict) and own in value}
        told[key] = _saying(value, part) if part else value
        said |= part.keys()
    return told | {key: value for key, value in says.items() if key in config or key not in said}
