"""Have a Hugging Face module call its weights what its folder calls them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def use_stored_names(model: Any) -> None:
    """Rename the entries of a module's state to what checkpoints of it hold, where these differ.

    From version 5 on, transformers stores some layouts under their old names: the `lm_head.weight` of a
    GPT-NeoX is `embed_out.weight` in every folder, loaded and saved through a list of renamings. Only what
    `state_dict` says changes.

    Args:
        model: A module of transformers; a weight that transformers stores in another form keeps its name.
    """
    stored = _stored_names(model)

    def rename(module: nn.Module, state: dict[str, Any], prefix: str, metadata: object) -> None:
        for name, other in stored.items():
            if prefix + name in state:
                state[prefix + other] = state.pop(prefix + name)

    if stored:
        model.register_state_dict_post_hook(rename)


def _stored_names(model: Any) -> dict[str, str]:
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # an older version, which has one name for each
        return {}
    marks = {name: torch.empty(tensor.shape, device="meta") for name, tensor in model.state_dict().items()}
    names = {id(mark): name for name, mark in marks.items()}
    reverted: dict[str, Any] = revert_weight_conversion(model, dict(marks))
    pairs = {names.get(id(mark)): stored for stored, mark in reverted.items()}
    return {name: stored for name, stored in pairs.items() if name is not None and name != stored}
