"""What makes a merge doubtful though every tensor fits: other settings, other tokens, another base model."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.differences import differences
from m2m.checkpoint.header import MERGEABLE, TensorInfo
from m2m.checkpoint.remote.session import written
from m2m.errors import CheckpointError
from m2m.merging.compare import as_one_vector, compare_tensors, paired
from m2m.merging.lora.adapted import AdaptedCheckpoint

#: Fine-tuning moves a model by a few per cent of its norm; another model lies about √2 norms away.
FAR = 0.5
#: Of so many matrices about so many elements are read to see it.
_MATRICES, _ELEMENTS = 4, 2**18
#: About so many tensors are looked at for such matrices.
_LOOKED_AT = 64

_log = logging.getLogger(__name__)


def doubts_about(
    donor: Checkpoint,
    others: Sequence[Checkpoint],
    *,
    averaged: bool = True,
    words: bool = True,
    templates: bool = True,
) -> list[str]:
    """Say what makes it doubtful that models' weights mean the same.

    Args:
        donor: The model whose configuration and tokenizer a merge takes: the base model, or the first expert.
        others: What it is merged with. [N]
        averaged: Whether weights of several models go into one; where not, as in stacks of layers, it does
            not matter how far apart they lie.
        words: Whether the ids of their tokens are compared.
        templates: Whether their chat templates are compared.

    Returns:
        A line for each other configuration, tokenizer or chat template (`m2m.checkpoint.differences`), and
        for each model that lies so far from the donor that it seems to stem from another base model: of the
        weights, some rows of four matrices are read.

    Raises:
        CheckpointError: If a configuration is no JSON.
    """  # noqa: DOC502 - raised by what is called
    found = [
        doubt for model in others for doubt in differences(donor, model, words=words, templates=templates)
    ]
    return found + [doubt for model in others if averaged for doubt in _stranger(donor, model)]


def warn_of_doubts(
    donor: Checkpoint,
    models: Sequence[Checkpoint],
    *,
    averaged: bool = True,
    words: bool = True,
    templates: bool = True,
    strict: bool = False,
) -> tuple[str, ...]:
    """Warn of what makes it doubtful that models' weights mean the same, and that adapters fit their base.

    Args:
        donor: As of `doubts_about`.
        models: What is merged; the donor may be among them.
        averaged: As of `doubts_about`.
        words: As of `doubts_about`.
        templates: As of `doubts_about`.
        strict: Whether doubts are an error.

    Returns:
        The doubts, a line each.

    Raises:
        CheckpointError: If `strict` and there is one.
    """
    others = [model for model in models if model is not donor]
    doubts = doubts_about(donor, others, averaged=averaged, words=words, templates=templates)
    for model in models:
        doubts += model.doubts if isinstance(model, AdaptedCheckpoint) else ()
    doubts = [written(doubt) for doubt in doubts]
    if doubts and strict:
        raise CheckpointError("; ".join(doubts) + " (strict: without it these are warnings)")
    for doubt in doubts:
        _log.warning("%s", doubt)
    return tuple(doubts)


def _stranger(donor: Checkpoint, model: Checkpoint) -> list[str]:
    if isinstance(model, AdaptedCheckpoint):  # its base model was chosen, and is checked by name
        return []
    pairs = [paired(first, (first, second)) for first, second in _sample(donor, model)]
    with suppress(CheckpointError):  # what is not finite is told by the merge itself, if it minds
        distance = as_one_vector([*compare_tensors((donor, model), pairs, threads=1).values()])
        if distance is not None and distance.norm and distance.relative > FAR:
            return [
                f"{model.path}: lies {distance.relative:.2g} norms away from {donor.path} in a sample of its "
                "matrices; it seems to stem from another base model, and then their average means nothing"
            ]
    return []


def _sample(donor: Checkpoint, model: Checkpoint) -> list[tuple[TensorInfo, TensorInfo]]:
    """Choose matrices that both hold, spread over the model, and rows of them."""
    # Of a few names only, as models may have a hundred thousand; scales of norms hardly move, and are none.
    names = donor.names[:: max(1, len(donor.names) // _LOOKED_AT)]
    matrices = []
    for name in names:
        info, other = donor.tensors[name], model.tensors.get(name)
        if other is not None and other.shape == info.shape and {info.dtype, other.dtype} <= MERGEABLE:
            matrices += [(info, other)] if len(info.shape) > 1 and info.elements else []
    chosen = matrices[:: max(1, math.ceil(len(matrices) / _MATRICES))]
    return [(_middle(info), _middle(other)) for info, other in chosen]


def _middle(info: TensorInfo) -> TensorInfo:
    """Rows from a tensor's middle."""
    n_rows, row_bytes = info.shape[0], info.nbytes // info.shape[0]
    kept = min(n_rows, max(1, _ELEMENTS * n_rows // info.elements))
    first = (n_rows - kept) // 2
    return info._replace(
        shape=(kept, *info.shape[1:]), offset=info.offset + first * row_bytes, nbytes=kept * row_bytes
    )
