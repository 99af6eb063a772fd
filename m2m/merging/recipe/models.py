"""Models of a recipe: references as in `path[@revision][+lora[@revision]]`, and how they are opened."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import check_not_quantised, check_ties
from m2m.checkpoint.locate import find_folder
from m2m.checkpoint.remote.address import remote_url
from m2m.errors import RecipeError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.adapter import Adapter, is_adapter
from m2m.merging.lora.base_name import names_base
from m2m.merging.recipe.keys import check_keys

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelRef:
    """A model named in a recipe: a folder, a URL or a hub id, perhaps with a LoRA adapter on top."""

    #: Folder, file, URL or hub id, as written.
    path: str
    #: Hub revision of the model.
    revision: str | None = None
    #: Folder, URL or hub id of an adapter.
    lora: str | None = None
    #: Hub revision of the adapter.
    lora_revision: str | None = None
    #: What the result's `config.json` is to call its class, if this is the donor.
    architecture: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        model = f"{self.path}@{self.revision}" if self.revision else self.path
        if not self.lora:
            return model
        return f"{model}+{self.lora}@{self.lora_revision}" if self.lora_revision else f"{model}+{self.lora}"


def read_model(value: object, where: str) -> ModelRef:
    """Read `path[@revision][+lora[@revision]]`, or `{model: {path, revision}, lora: ...}`."""
    if isinstance(value, str):
        if os.path.exists(value):  # a folder may be called c++, or run@2024
            return ModelRef(value)
        parts = _parts(value)
        if len(parts) > 2:
            raise RecipeError(
                f"{where}: more than one '+' in {value!r}; wanted path[@revision][+lora[@revision]]"
            )
        path, revision = _split(parts[0], where)
        lora, lora_revision = _split(parts[1], where) if len(parts) == 2 else (None, None)
        return ModelRef(path, revision, lora, lora_revision)
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where} must name a model, got {value!r}")
    check_keys(value, ("model", "lora", "override_architecture"), where)
    path, revision = _path(value.get("model"), f"{where}.model")
    lora, lora_revision = (None, None) if value.get("lora") is None else _path(value["lora"], f"{where}.lora")
    architecture = value.get("override_architecture")
    if not isinstance(architecture, str | None) or architecture == "":
        raise RecipeError(f"{where}.override_architecture must name a class, got {architecture!r}")
    return ModelRef(path, revision, lora, lora_revision, architecture)


def _path(value: object, where: str) -> tuple[str, str | None]:
    if isinstance(value, Mapping):
        check_keys(value, ("path", "revision"), where)
        path, revision = value.get("path"), value.get("revision")
        if isinstance(path, str) and path and (revision is None or isinstance(revision, str)):
            return path, revision
    elif isinstance(value, str):
        return _split(value, where)
    raise RecipeError(f"{where} must be a path or {{path, revision}}, got {value!r}")


def _parts(text: str) -> list[str]:
    # At the plus where a folder's name ends, if there is one: c+++adapter is the folder c++ and an adapter.
    for place, letter in enumerate(text):
        model, lora = text[:place], text[place + 1 :]
        if letter == "+" and lora and os.path.exists(model) and (os.path.exists(lora) or "+" not in lora):
            return [model, lora]
    return text.split("+")


def _split(text: str, where: str) -> tuple[str, str | None]:
    if os.path.exists(text) or remote_url(text) is not None:  # hf://org/name@revision is one address
        return text, None
    path, *revision = text.split("@")
    if not path or len(revision) > 1 or revision == [""]:
        raise RecipeError(f"{where} must be path[@revision], got {text!r}")
    return path, revision[0] if revision else None


def open_references(
    refs: Iterable[ModelRef], base: ModelRef | None, *, averaged: bool = True
) -> dict[ModelRef, Checkpoint]:
    """Open checkpoints, `model+adapter`, and adapters alone, on top of the base model; each file once."""
    # Where weights are not `averaged`, as when layers are stacked, they may be quantised.
    if base is not None and (base.lora is not None or is_adapter(base.path)):
        raise RecipeError(
            f"base_model {base} is an adapter on a model: name the model itself as base_model, or write the "
            "adapted model first (passthrough)"
        )
    known: dict[Path, Checkpoint] = {}

    def dense(path: str, revision: str | None) -> Checkpoint:
        checkpoint = Checkpoint(path, revision)
        place = checkpoint.path.resolve()
        if place not in known:
            check_ties(checkpoint)
            if averaged:
                check_not_quantised(checkpoint)
            known[place] = checkpoint
        return known[place]

    def adapted(model: Checkpoint, adapter: Adapter, *, named: bool = True) -> Checkpoint:
        check_not_quantised(model)
        return AdaptedCheckpoint(model, adapter, named=named)

    def open_one(ref: ModelRef) -> Checkpoint:
        if ref.lora is not None:
            # The recipe says which model it goes on; its configuration may name another machine's.
            model, adapter = dense(ref.path, ref.revision), Adapter(ref.lora, ref.lora_revision)
            if not names_base(model, adapter):
                _log.warning(
                    "%s was trained on %r; it is put on %s, as the recipe says", ref.lora,
                    adapter.config.base_model, ref.path,
                )  # fmt: skip
            return adapted(model, adapter, named=False)
        if not is_adapter(find_folder(ref.path, ref.revision)):
            return dense(ref.path, ref.revision)
        if base is None:
            raise RecipeError(f"{ref} is an adapter: name its base_model, or write MODEL+{ref}")
        return adapted(dense(base.path, base.revision), Adapter(ref.path, ref.revision))

    return {ref: open_one(ref) for ref in refs}
