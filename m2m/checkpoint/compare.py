"""Do experts fit their base model: the same tensors, of the same shapes and types?"""

from __future__ import annotations

from collections.abc import Sequence

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.dtypes import MERGEABLE
from m2m.checkpoint.header import TensorInfo
from m2m.errors import CheckpointError

_SHOWN = 3


def check_same_tensors(
    base: Checkpoint, experts: Sequence[Checkpoint], *, mixed_floats: bool = False
) -> None:
    """Refuse experts whose tensors are not those of the base model.

    Args:
        base: The base model, or whichever checkpoint the others are held against.
        experts: The checkpoints to check.
        mixed_floats: Whether a float tensor may be of another float type than the base's.

    Raises:
        CheckpointError: If an expert lacks a tensor, has one too many, or one of another shape or type; names
            expert, tensor, what was got and what was wanted.
    """  # noqa: DOC502 - raised by what is called
    for expert in experts:
        if expert.tensors.keys() != base.tensors.keys():
            _refuse_names(base, expert)
        got = expert.tensors
        for name, wanted in base.tensors.items():
            if got[name].shape != wanted.shape or got[name].dtype != wanted.dtype:
                _check_tensor(base, expert, wanted, got[name], mixed_floats)


def _refuse_names(base: Checkpoint, expert: Checkpoint) -> None:
    missing = [name for name in base.tensors if name not in expert.tensors]
    extra = [name for name in expert.tensors if name not in base.tensors]
    for names, verb in ((missing, "lacks"), (extra, "has more than")):
        if names:
            shown = ", ".join(map(repr, names[:_SHOWN])) + (
                f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            )
            what = f"tensors of {base.path}: {shown}" if verb == "lacks" else f"{base.path}: {shown}"
            raise CheckpointError(f"{expert.path}: {verb} {what}")


def _check_tensor(
    base: Checkpoint, expert: Checkpoint, wanted: TensorInfo, got: TensorInfo, mixed_floats: bool
) -> None:
    where = f"{expert.path}: tensor {wanted.name!r}"
    if got.shape != wanted.shape:
        raise CheckpointError(
            f"{where} has shape {list(got.shape)}, wanted {list(wanted.shape)} as in {base.path}"
        )
    both_floats = got.dtype in MERGEABLE and wanted.dtype in MERGEABLE
    if got.dtype != wanted.dtype and not (mixed_floats and both_floats):
        raise CheckpointError(f"{where} is {got.dtype}, wanted {wanted.dtype} as in {base.path}")
