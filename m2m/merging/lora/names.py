"""Names: which tensor of the base model an adapter's tensor belongs to."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m2m.errors import CheckpointError

#: What a tensor of an adapter is to its module. `full` takes the place of one of the module's tensors, and so
#: does `copy`: the base model's own, saved beside an adapted embedding or head.
Role = Literal["A", "B", "bias", "embedding_A", "embedding_B", "magnitude", "full", "copy"]

_ROLES: dict[str, Role] = {
    "lora_A": "A",
    "lora_B": "B",
    "lora_embedding_A": "embedding_A",
    "lora_embedding_B": "embedding_B",
    "lora_magnitude_vector": "magnitude",
}
_PREFIX = "base_model.model."
#: Parts of a name that PEFT's wrappers put between a module and its own tensor.
_WRAPPERS = ("base_layer", "modules_to_save")
#: Of a module that is trained whole: the base model's, which is not used.
_UNTRAINED = "original_module"
_SHOWN = 5


@dataclass(frozen=True)
class Part:
    """One tensor of an adapter."""

    #: The module it belongs to, as PEFT knows it.
    module: str
    #: What it is.
    role: Role
    #: For `full` and `copy`: which tensor of the module; else empty.
    leaf: str = ""


def read_name(name: str, path: Path) -> Part | None:
    """What an adapter's tensor is, by a name as in `base_model.model.layers.0.q_proj.lora_A.weight`."""
    # None for what nobody reads: PEFT saves a whole module beside the one that was trained in its place.
    parts = name.removeprefix(_PREFIX).split(".")
    if _UNTRAINED in parts:
        return None
    for at, part in enumerate(parts):
        if part in _ROLES:
            return _lora_part(".".join(parts[:at]), _ROLES[part], parts[at + 1 :], name, path)
        if part.startswith(("lora_", "trainable_tokens", "token_adapter")):
            raise CheckpointError(f"{path}: holds {name!r}, which is no factor of W + s·BA")
    kept = [part for part in parts if part not in _WRAPPERS]
    if "modules_to_save" in parts[:-2]:  # followed by the adapter's name, where PEFT has not removed it
        del kept[parts.index("modules_to_save")]
    return Part(".".join(kept[:-1]), "copy" if "base_layer" in parts else "full", kept[-1])


def _lora_part(module: str, role: Role, rest: list[str], name: str, path: Path) -> Part:
    # After the role: `weight` or `bias` (neither in an embedding's), perhaps after the adapter's name.
    last = rest[-1] if rest else ""
    if not module or len(rest) > 2:
        raise CheckpointError(f"{path}: {name!r} is not a name that PEFT gives")
    return Part(module, "bias", "bias") if role == "B" and last == "bias" else Part(module, role)


def match_tensors(wanted: Collection[str], names: Collection[str], path: Path, base: Path) -> dict[str, str]:
    """The base model's names of the tensors that an adapter changes, by the adapter's."""
    # Names may differ by a prefix, the same for all: a model and the model inside it (`model.layers.0...` and
    # `layers.0...`) have different ones.
    known = set(names)
    missing = sorted(name for name in wanted if name not in known)
    if not missing:
        return {name: name for name in wanted}
    fits = {
        tuple(renamed): dict(zip(wanted, renamed, strict=True))
        for renamed in _renamings(list(wanted), names)
        if known.issuperset(renamed)
    }
    if len(fits) == 1:
        return next(iter(fits.values()))
    if fits:
        raise CheckpointError(f"{path}: its names fit {base} with {len(fits)} different prefixes")
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    raise CheckpointError(
        f"{path}: adapts {', '.join(missing[:_SHOWN])}{more}, which {base} does not hold; "
        "it belongs to another model"
    )


def _renamings(wanted: list[str], names: Collection[str]) -> Iterator[list[str]]:
    # Takes away the first parts of the longest name, and puts before it what ends in the rest.
    longest = max(wanted, key=lambda name: name.count("."))
    parts = longest.split(".")
    for cut in range(len(parts) - 1):
        removed = "".join(f"{part}." for part in parts[:cut])
        rest = longest.removeprefix(removed)
        if not all(name.startswith(removed) for name in wanted):
            return
        for name in names:
            if name == rest or name.endswith(f".{rest}"):
                added = name.removesuffix(rest)
                yield [added + other.removeprefix(removed) for other in wanted]
