"""Models stored under the names of their modules, read under those of a folder that transformers loads.

Whoever saves a module's state (as runs of m2m do) stores the experts of a mixture of experts in one tensor;
folders of the hub store them one by one. The bytes are the same: each of these is a run of bytes of that one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from m2m.checkpoint.aligned import Aligned, AlignedCheckpoint, align
from m2m.checkpoint.buffers import is_buffer
from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.header import SIZES, TensorInfo
from m2m.checkpoint.layout import Layout, Part
from m2m.errors import CheckpointError, InputError


def align_as_stored(donor: Checkpoint, models: Sequence[Checkpoint], **how: Any) -> Aligned:
    """Bring checkpoints under the donor's names as `align` does, those of module states too.

    Args:
        donor: The checkpoint whose names they get; only where the others do not fit is transformers asked
            how its module holds its tensors.
        models: The others. [N]
        **how: What else `align` is told.

    Returns:
        What `align` returns.

    Raises:
        CheckpointError: What `align` raises.
    """
    try:
        return align(donor, models, **how)
    except CheckpointError:
        layout = _layout(donor)
        if layout is None:
            raise
        seen = [_as_stored(donor, model, layout) for model in models]
        if all(one is other for one, other in zip(seen, models, strict=True)):
            raise
        aligned = align(donor, seen, **how)
    notes = [
        f"{model.path}: names its tensors as its module does, and {donor.path} as folders do; they are read "
        "as transformers would store them"
        for model, other in zip(seen, models, strict=True)
        if model is not other
    ]
    return aligned._replace(notes=(*notes, *aligned.notes))


def _layout(donor: Checkpoint) -> Layout | None:
    if not (donor.path / "config.json").is_file() or find_spec("transformers") is None:
        return None
    import torch

    from m2m.checkpoint.heads import model_class
    from m2m.checkpoint.hugging_face import build_hollow_model, load_config

    try:
        config = load_config(donor.path, trust=False)
        auto, _ = model_class(config, trust=False)
        return build_hollow_model(donor.path, auto, config, trust=False, dtype=torch.float32)[1]
    except InputError:  # no model that transformers builds
        return None


def _as_stored(donor: Checkpoint, model: Checkpoint, layout: Layout) -> Checkpoint:
    # The model itself where it cannot be read so.
    if type(model) is not Checkpoint or donor.tensors.keys() <= model.tensors.keys():
        return model
    found: dict[str, TensorInfo] = {}
    for part in layout.parts:
        held = model.tensors.get(model.tied.get(part.target, part.target))
        wanted = donor.tensors.get(donor.tied.get(part.stored, part.stored))
        if held is not None and wanted is not None and part.is_run and part.elements == wanted.elements:
            piece = _piece(part, held, wanted)
            if piece is not None:
                found.setdefault(wanted.name, piece)
    used = {info.name for info in found.values()}
    strange = [name for name, info in model.tensors.items() if name not in used and not is_buffer(info)]
    kept = {name: info for name, info in donor.tensors.items() if is_buffer(info)}
    if strange or (kept | found).keys() != donor.tensors.keys():
        return model
    return AlignedCheckpoint(model, donor, {name: (kept | found)[name] for name in donor.tensors})


def _piece(part: Part, held: TensorInfo, wanted: TensorInfo) -> TensorInfo | None:
    # The box as a run of bytes of the module's tensor; None where it is none.
    if len(held.shape) != len(part.shape):
        return None
    cut = [axis for axis, length in enumerate(part.shape) if length != held.shape[axis]]
    if cut and any(length != 1 for length in part.shape[: cut[-1]]):
        return None
    first = sum(start * math.prod(held.shape[axis + 1 :]) for axis, start in enumerate(part.start))
    size = SIZES[held.dtype]
    if (first + part.elements) * size > held.nbytes:
        return None
    return held._replace(shape=wanted.shape, offset=held.offset + first * size, nbytes=part.elements * size)
