"""How a base model's folder holds what its module calls otherwise: PEFT names modules, not stored tensors."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from typing import NamedTuple

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.layout import Part
from m2m.errors import M2MError


class ModuleParts(NamedTuple):
    """What of a folder's tensors makes up those of its module.

    Attributes:
        parts: Whole stored tensors, and the boxes of the module's that they fill, in the module's order.
        transposed: Modules of experts that hold their matrices as [in, out], and say so.
    """

    parts: tuple[Part, ...] = ()
    transposed: frozenset[str] = frozenset()


def module_parts(base: Checkpoint) -> ModuleParts:
    """Ask transformers what of a folder's tensors makes up those of its module.

    Text and vision towers of one model have prefixes of their own, which differ between a module and what is
    stored of it; experts of a mixture are one tensor in the module and are stored apart.

    Args:
        base: The model.

    Returns:
        What transformers says; nothing where it is not there, does not know the class that `config.json`
        names, or needs code of the folder's own.
    """
    kinds = base.config.get("architectures")
    if not isinstance(kinds, list) or not kinds or find_spec("transformers") is None:
        return ModuleParts()
    import torch

    from m2m.checkpoint.hugging_face import build_hollow_model, load_config

    with suppress(M2MError):
        config = load_config(base.path, trust=False)
        model, layout = build_hollow_model(base.path, str(kinds[0]), config, trust=False, dtype=torch.float32)
        modules = [*model.named_modules()]
        turned = frozenset(name for name, module in modules if getattr(module, "is_transposed", False))
        return ModuleParts(tuple(part for part in layout.parts if _is_whole(part, base)), turned)
    return ModuleParts()


def _is_whole(part: Part, base: Checkpoint) -> bool:
    stored = base.tensors.get(part.stored)
    return stored is not None and part.is_run and part.offset == 0 and part.elements == stored.elements
