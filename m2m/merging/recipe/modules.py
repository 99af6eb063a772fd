"""Modules of a model: which of its tensors a recipe means by `text_decoder`, `vision_tower` and the like.

mergekit has a table for each architecture. Here names tell: those of the parts of multimodal models and of
encoder-decoders are few, and a module may also be named by what its tensors' names begin with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from m2m.errors import RecipeError
from m2m.support.schema import closest

_PROJECTOR = frozenset({
    "multi_modal_projector", "mm_projector", "vision_projection", "projector", "merger",
    "deepstack_merger_list", "connector", "aligner", "embed_vision",
})  # fmt: skip
_VISION = frozenset({
    "vision_tower", "vision_model", "vision_encoder", "visual", "image_encoder", "vision", "image_newline",
})  # fmt: skip
#: Part of the model by the names that recipes use for it.
_PARTS = {
    "text_decoder": "text",
    "vision_tower": "vision",
    "vision_model": "vision",
    "multi_modal_projector": "projector",
    "encoder": "encoder",
    "decoder": "decoder",
    "shared": "shared",
}
#: Whatever no other module takes.
DEFAULT = "default"


def split_modules(names: Sequence[str], modules: Iterable[str]) -> dict[str, list[str]]:
    """Say which tensors each module of a recipe takes.

    Args:
        names: The model's tensor names.
        modules: Names of modules: those above, `default` for what no other one takes, or a prefix of names.

    Returns:
        Tensor names by module, each in one module at most, in the model's order.

    Raises:
        RecipeError: If the model has no such module, or two take one tensor.
    """
    parts = _parts_of(names)
    taken: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for module in sorted(modules, key=lambda module: module == DEFAULT):
        if module == DEFAULT:
            own = [name for name in names if name not in taken]
        else:
            own = [name for name in names if parts[name] == _PARTS.get(module)]
            own = own or [name for name in names if name.startswith(f"{module.removesuffix('.')}.")]
        if not own:
            raise RecipeError(_no_module(module, set(parts.values())))
        for name in own:
            if name in taken:
                raise RecipeError(f"modules {taken[name]} and {module} both take {name!r}")
            taken[name] = module
        found[module] = own
    return found


def part_of(module: str) -> str | None:
    """Which part of a model a module is by its name: `text`, `vision`, `encoder`, ...; None if it is none."""
    return _PARTS.get(module)


def _parts_of(names: Sequence[str]) -> dict[str, str]:
    parts = {name: _part(name.split(".")) for name in names}
    if not {"encoder", "decoder"} <= set(parts.values()):  # a text model may call its layers an encoder
        return {name: "text" if part in ("encoder", "decoder") else part for name, part in parts.items()}
    return {name: "shared" if part == "text" else part for name, part in parts.items()}


def _part(components: Sequence[str]) -> str:
    if _PROJECTOR.intersection(components):
        return "projector"
    if _VISION.intersection(components):
        return "vision"
    # `encoder.block.0`, or `model.encoder.layers.0`.
    return next((component for component in components[:2] if component in ("encoder", "decoder")), "text")


def _no_module(module: str, parts: set[str]) -> str:
    known = [name for name, part in _PARTS.items() if part in parts]
    meant = closest(module, known)
    hint = f"did you mean {meant!r}?" if meant else f"it has {', '.join(known)}, and {DEFAULT}"
    return f"modules.{module}: the model has no such module; {hint} (or write how its tensors' names begin)"
