"""LoRA and DoRA by PEFT: a model's linear layers get factors, which alone are trained (extra `lora`).

LoRA: W + s·BA, s = α/r (Hu et al., arXiv 2106.09685), or α/√r (rank-stabilised, arXiv 2312.03732). DoRA
rescales every row of that (Liu et al., arXiv 2402.09353), which is no sum: what it leaves is a whole model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from m2m.checkpoint.folder import new_folder
from m2m.checkpoint.locate import ADAPTER_NAMES
from m2m.checkpoint.manifest import write_manifest
from m2m.checkpoint.writer import save_file
from m2m.errors import ConfigError
from m2m.merging.lora.config import NAME
from m2m.merging.lora.products import add_scaled
from m2m.support.extras import installing
from m2m.support.schema import closest
from m2m.training.recipe import LoraOptions

#: Where PEFT's names of an adapter's tensors begin.
_PREFIX = "base_model.model."


class TrainedAdapter(NamedTuple):
    """What a LoRA training leaves, as PEFT's folders have it."""

    #: Factors by PEFT's names.
    tensors: dict[str, Tensor]
    #: Content of `adapter_config.json`, but for the base model's name.
    config: dict[str, Any]


def save_adapter(
    adapter: TrainedAdapter,
    folder: Path,
    base_model: Path | None,
    *,
    texts: Mapping[str, str],
    facts: Mapping[str, Any],
) -> None:
    """Write an adapter as a PEFT folder with a manifest; it appears when it is complete and on disk.

    Args:
        adapter: The adapter.
        folder: The folder to make.
        base_model: Folder that PEFT loads the base model from; None if there is none.
        texts: Other files in the folder: text by file name.
        facts: What else the manifest should tell, as JSON.
    """
    config = {**adapter.config, "base_model_name_or_path": None if base_model is None else str(base_model)}
    with new_folder(folder) as work:
        save_file(adapter.tensors, work / ADAPTER_NAMES[0])
        for name, text in {**texts, NAME: json.dumps(config, indent=2) + "\n"}.items():
            (work / name).write_text(text, encoding="utf-8")
        write_manifest(work, **facts)


class LoraTraining:
    """Factors in a model's layers.

    Args:
        model: The model; its layers are wrapped in place. Draws from torch's generator.
        options: Which layers, and how.

    Raises:
        ConfigError: If PEFT is not there, or no layer is meant.
    """

    def __init__(self, model: nn.Module, options: LoraOptions) -> None:
        modules = adapted_layers(model, options)
        import peft

        self._transposed = any(map(_is_transposed, modules.values()))
        self._names, self._options = list(modules), options
        config = peft.LoraConfig(
            r=options.r, lora_alpha=cast(int, options.alpha), lora_dropout=options.dropout,
            use_rslora=options.rslora, use_dora=options.dora, target_modules=self._names,
            fan_in_fan_out=self._transposed,
        )  # fmt: skip
        peft.inject_adapter_in_model(config, model)
        self._layers: dict[str, Any] = {name: model.get_submodule(name) for name in self._names}

    def state(self, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the whole model: θ₀ but for the adapted weights, as merging one adapter has them."""
        return dict(base) | {f"{name}.weight": self._weight(name, base) for name in self._names}

    def adapter(self) -> TrainedAdapter | None:
        """Return the factors; None for DoRA, whose weights are no sum of a product."""
        options = self._options
        if options.dora:
            return None
        tensors: dict[str, Tensor] = {}
        for name in self._names:
            a, b = self._factors(name)
            tensors |= {f"{_PREFIX}{name}.lora_A.weight": a, f"{_PREFIX}{name}.lora_B.weight": b}
        config = {
            "peft_type": "LORA",
            "r": options.r,
            "lora_alpha": options.alpha,
            "lora_dropout": options.dropout,
            "use_rslora": options.rslora,
            "fan_in_fan_out": self._transposed,
            "target_modules": self._names,
            "bias": "none",
            "inference_mode": True,
        }
        return TrainedAdapter(tensors, config)

    def _weight(self, name: str, base: Mapping[str, Tensor]) -> Tensor:
        layer, weight = self._layers[name], base[f"{name}.weight"]
        if self._options.dora:
            layer.merge()
            merged: Tensor = layer.get_base_layer().weight
            layer.unmerge()
            return merged.detach().cpu().clone(memory_format=torch.contiguous_format)
        a, b = self._factors(name)
        factors = (a.T, b.T) if self._transposed else (b, a)
        return add_scaled(weight, factors, float(layer.scaling["default"]))

    def _factors(self, name: str) -> tuple[Tensor, Tensor]:
        layer = self._layers[name]
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        return a.detach().cpu().clone(), b.detach().cpu().clone()


def adapted_layers(model: nn.Module, options: LoraOptions) -> dict[str, nn.Module]:
    """Find the layers that get factors.

    Args:
        model: The model, with `requires_grad` where it is trained; it may be without memory.
        options: Which layers.

    Returns:
        The layers by name, all stored one way.

    Raises:
        ConfigError: If PEFT is not there, or no layer is meant.
    """
    if find_spec("peft") is None:
        raise ConfigError(f'[train]: adapter = "lora" needs peft: {installing("lora")}')
    modules = _targets(model, options.target_modules)
    if len({_is_transposed(module) for module in modules.values()}) > 1:
        raise ConfigError(
            "[train.lora]: `target_modules` are layers that store [out, in] and layers that store "
            f"[in, out]: {list(modules)}; name those of one kind"
        )
    return modules


def _targets(model: nn.Module, wanted: tuple[str, ...]) -> dict[str, nn.Module]:
    linear = dict(_linear_layers(model))
    if not wanted:
        found = linear
    else:
        for name in wanted:
            if not any(_is_meant(module, name) for module in linear):
                leaves = sorted({module.rpartition(".")[2] for module in linear})
                near = closest(name, leaves)
                hint = f" (did you mean {near!r}?)" if near else ""
                raise ConfigError(
                    f"[train.lora]: `target_modules` has {name!r}{hint}, and no linear layer that is trained "
                    f"is called so; there are {', '.join(leaves)}"
                )
        found = {
            module: layer for module, layer in linear.items() if any(_is_meant(module, n) for n in wanted)
        }
    if not found:
        raise ConfigError("[train.lora]: the model has no linear layer that is trained")
    return found


def _linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Walk over the linear layers that are trained, but for the output head and weights used twice."""
    head_of: Any = getattr(model, "get_output_embeddings", lambda: None)
    head = head_of()
    uses: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    for name, module in model.named_modules():
        if (isinstance(module, nn.Linear) or _is_transposed(module)) and module is not head:
            weight = module.weight
            if isinstance(weight, nn.Parameter) and weight.requires_grad and uses[id(weight)] == 1:
                yield name, module


def _is_transposed(module: nn.Module) -> bool:
    # Of transformers' GPT-2, which stores [in, out]; known by its name, so that nothing need be imported.
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def _is_meant(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")
