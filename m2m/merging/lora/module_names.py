"""How a base model's folder calls what its module calls otherwise: PEFT names modules, not stored tensors."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.errors import M2MError


def stored_names(base: Checkpoint) -> dict[str, str]:
    """Ask transformers under which names it finds the tensors of a folder's module.

    Text and vision towers of one model have prefixes of their own, which differ between a module and what is
    stored of it.

    Args:
        base: The model.

    Returns:
        Stored name by the module's, of tensors that are stored whole; empty where transformers is not there,
        does not know the class that `config.json` names, or needs code of the folder's own.
    """
    kinds = base.config.get("architectures")
    if not isinstance(kinds, list) or not kinds or find_spec("transformers") is None:
        return {}
    import torch

    from m2m.checkpoint.hugging_face import build_hollow_model, load_config

    with suppress(M2MError):
        config = load_config(base.path, trust=False)
        _, layout = build_hollow_model(base.path, str(kinds[0]), config, trust=False, dtype=torch.float32)
        whole = [part for part in layout.parts if part.is_run and part.offset == 0]
        return {
            part.target: part.stored
            for part in whole
            if part.stored in base.tensors and part.shape == base.tensors[part.stored].shape
        }
    return {}
