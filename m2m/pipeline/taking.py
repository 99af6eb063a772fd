"""Models that were trained elsewhere, taken into a run: held against its base model, and made its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint, align, save
from m2m.checkpoint.aligned import Advice
from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.folder import new_folder
from m2m.checkpoint.header import TORCH_NAMES, TensorInfo
from m2m.checkpoint.layout import Layout
from m2m.checkpoint.manifest import FileHashes, write_manifest
from m2m.errors import CheckpointError, InputError
from m2m.merging.lora import AdaptedCheckpoint, Adapter, is_adapter
from m2m.scoring.live.huggingface import HuggingFaceFolder, is_model_folder
from m2m.scoring.models import on_base, own_files
from m2m.support.content_keys import content_key

#: What is done about a model that is not the base model's.
_WANTED = Advice(
    missing="wanted a model trained from the run's base model, whole, or a PEFT adapter of it",
    extra="wanted a model trained from the run's base model: its tensors, and no others",
)
_WHOLE = Advice(
    missing="it holds a part of the base model's tensors and no others, as experts of a run with "
    "`cache_trunk` do: load it over the base model (load_state_dict, strict=False) and save the whole"
)


def is_model(folder: Path) -> bool:
    """Say whether a folder holds a whole model or an adapter, whatever it is worth."""
    try:
        return is_adapter(folder) or bool(Checkpoint(folder).files)
    except CheckpointError:
        return False


def model_key(folder: Path, base: Path) -> str:
    """Hash the files of a model that was trained elsewhere: weights, or an adapter and what it says."""
    files = own_files(on_base(folder, Checkpoint(base)))
    with FileHashes(files) as hashes:
        return content_key([(file.name, hashes[file]) for file in files])


def take_model(
    source: Path,
    base: Path,
    folder: Path,
    notes: Mapping[str, str],
    facts: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Make a run's model of one that was trained elsewhere: a copy that the run verifies and keeps.

    A whole model's floats are brought to the base model's types, under its names; an adapter stays one.

    Args:
        source: Folder of a model with the base model's tensors, or of a PEFT adapter.
        base: Checkpoint of the base model θ₀.
        folder: Where the run keeps it; there is nothing yet.
        notes: Free text for the file's header.
        facts: What its manifest should tell.
        texts: Other files in the folder: text by file name.

    Raises:
        CheckpointError: If it is no model trained from this base model, or not finite.
    """  # noqa: DOC502 - raised by what is called
    root = Checkpoint(base)
    model = on_base(source, root)
    if isinstance(model, AdaptedCheckpoint):
        _take_adapter(model, folder, facts, texts or {})
    else:
        state = _loaded(model, root)
        if state is None:
            part = model.tensors.keys() < root.tensors.keys()
            (aligned,) = align(root, [model], advice=_WHOLE if part else _WANTED).models
            state = {name: _read(info, root.tensors[name]) for name, info in aligned.tensors.items()}
        model.check_unchanged()
        state |= {name: state[kept] for name, kept in root.tied.items()}
        save(state, folder, notes, facts=facts, texts=texts)


def _loaded(model: Checkpoint, root: Checkpoint) -> dict[str, Tensor] | None:
    # A run keeps models under their modules' names. A folder that stores others (each expert of a mixture of
    # experts, an older layout) is brought under these as transformers loads it; None for any other.
    if model.tensors.keys() == root.tensors.keys() or not is_model_folder(model.path):
        return None
    try:
        parts = HuggingFaceFolder(model.path).layout().parts
    except InputError:  # no model that transformers builds: its tensors are held against the base's
        return None
    if not root.tensors.keys() <= {part.target for part in parts}:
        return None
    state = {
        name: torch.empty(info.shape, dtype=getattr(torch, TORCH_NAMES[info.dtype]))
        for name, info in root.tensors.items()
    }
    Layout(tuple(part for part in parts if part.target in state)).boxes(
        str(model.path), {(name,): tensor for name, tensor in state.items()}
    )
    for part in parts:
        if part.target in state:
            stored = read_tensor(model.tensors[part.stored])
            _check_finite(model.tensors[part.stored], stored)
            part.within(state[part.target]).copy_(part.of(stored))
    return state


def _take_adapter(
    model: AdaptedCheckpoint, folder: Path, facts: Mapping[str, Any], texts: Mapping[str, str]
) -> None:
    for info in _terms(model.adapter):
        _check_finite(info, read_tensor(info))
    _ = model.tensors, model.additions  # an error where it does not fit
    with new_folder(folder) as work:
        for file in own_files(model):
            shutil.copyfile(file, work / file.name)
        for name, text in texts.items():
            (work / name).write_text(text, encoding="utf-8")
        model.check_unchanged()
        write_manifest(work, **facts)


def _terms(adapter: Adapter) -> Iterator[TensorInfo]:
    for factors in adapter.factors.values():
        yield from (factors.a, factors.b)
    yield from adapter.full.values()
    yield from (bias for bias, _ in adapter.biases.values())


def _read(info: TensorInfo, wanted: TensorInfo) -> Tensor:
    tensor = read_tensor(info)
    _check_finite(info, tensor)
    return tensor.to(getattr(torch, TORCH_NAMES[wanted.dtype]))


def _check_finite(info: TensorInfo, tensor: Tensor) -> None:
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise CheckpointError(f"{info.file}: {info.name!r} is not finite: its training diverged")
