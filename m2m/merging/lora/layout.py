"""Which way round a base model stores a linear layer's weight: [out, in], or [in, out] as in GPT-2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Model types of transformers whose linear layers of these names are `Conv1D`, which stores [in, out].
_IN_OUT_TYPES = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"})
_IN_OUT_LAYERS = frozenset({"c_attn", "q_attn", "c_proj", "c_fc"})


def is_stored_transposed(
    module: str, b_a: tuple[int, int], shape: tuple[int, ...], config: Mapping[str, Any], *, flag: bool
) -> bool:
    """Say whether an adapter's B·A is added transposed, module by module as PEFT does.

    PEFT asks the layer's class. Its configuration has one `fan_in_fan_out` for all layers, and what is saved
    is what the last one was: so shapes decide, then the model's type, and the flag where both are silent.

    Args:
        module: Name of the module.
        b_a: Shape of B·A. [out, in]
        shape: Shape of the stored weight.
        config: What the base model's `config.json` says.
        flag: What the adapter's `fan_in_fan_out` says.

    Returns:
        Whether the weight is stored as [in, out].
    """
    if b_a[0] != b_a[1]:
        return shape == b_a[::-1]
    if config.get("model_type") in _IN_OUT_TYPES:
        return module.rpartition(".")[2] in _IN_OUT_LAYERS
    return flag
