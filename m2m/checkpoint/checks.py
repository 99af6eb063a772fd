"""Checkpoints held against each other and themselves: experts fit their base model, tied weights are tied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.header import MERGEABLE, TensorInfo
from m2m.errors import CheckpointError
from m2m.support.doors import read_json
from m2m.support.files import naming

_SHOWN = 3
#: How the names of input embeddings and of output heads end, in the layouts of transformers.
_EMBEDDINGS = (
    "embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight",
    "token_embedding.weight", "shared.weight",
)  # fmt: skip
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight", "output_projection.weight", "decoder.weight")
#: Bytes that are compared at a time.
_BLOCK = 1 << 23


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
            missing = [name for name in base.tensors if name not in expert.tensors]
            extra = [name for name in expert.tensors if name not in base.tensors]
            _refuse_names(base, expert, missing, extra)
        got = expert.tensors
        for name, wanted in base.tensors.items():
            if got[name].shape != wanted.shape or got[name].dtype != wanted.dtype:
                _check_tensor(base, expert, wanted, got[name], mixed_floats=mixed_floats)


def _refuse_names(base: Checkpoint, expert: Checkpoint, missing: Sequence[str], extra: Sequence[str]) -> None:
    for names, verb in ((missing, "lacks"), (extra, "has more than")):
        if names:
            shown = ", ".join(map(repr, names[:_SHOWN])) + (
                f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            )
            what = f"tensors of {base.path}: {shown}" if verb == "lacks" else f"{base.path}: {shown}"
            raise CheckpointError(f"{expert.path}: {verb} {what}")


def _check_tensor(
    base: Checkpoint, expert: Checkpoint, wanted: TensorInfo, got: TensorInfo, *, mixed_floats: bool
) -> None:
    where = f"{expert.path}: tensor {wanted.name!r}"
    if got.shape != wanted.shape:
        raise CheckpointError(
            f"{where} has shape {list(got.shape)}, wanted {list(wanted.shape)} as in {base.path}"
        )
    both_floats = got.dtype in MERGEABLE and wanted.dtype in MERGEABLE
    if got.dtype != wanted.dtype and not (mixed_floats and both_floats):
        raise CheckpointError(f"{where} is {got.dtype}, wanted {wanted.dtype} as in {base.path}")


def tensors_of_base(base: Checkpoint, model: Checkpoint) -> dict[str, TensorInfo]:
    """Find the base model's tensors in a model that is said to be trained from it; refuses another model.

    Tensors that the base ties may be stored under any of their names, and floats in any float type.

    Args:
        base: The base model.
        model: The model.

    Returns:
        Where each of the base model's stored tensors lies in the model, by the base model's name.

    Raises:
        CheckpointError: If a tensor is missing, new, or of another shape or kind, or if names that are one
            tensor in the base have different values; names model, tensor, what was got and what was wanted.
    """
    names = {name: [name] for name in base.tensors}
    for name, kept in base.tied.items():
        names[kept].append(name)
    found = {kept: [name for name in all_names if name in model.tensors] for kept, all_names in names.items()}
    known = {name for all_names in names.values() for name in all_names}
    missing = [kept for kept, stored in found.items() if not stored]
    extra = [name for name in model.tensors if name not in known]
    if missing or extra:
        _refuse_names(base, model, missing, extra)
    for kept, (first, *others) in found.items():
        _check_tensor(base, model, base.tensors[kept], model.tensors[first], mixed_floats=True)
        for other in others:
            if not _equal(model.tensors[first], model.tensors[other]):
                raise CheckpointError(
                    f"{model.path}: {first!r} and {other!r} differ; they are one tensor in {base.path}"
                )
    return {kept: model.tensors[stored[0]] for kept, stored in found.items()}


def check_ties(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose configuration ties embedding and head while both are stored and differ."""
    # Loaders do not agree which model that is: transformers 4 uses the embedding for both, 5 each by itself.
    # A merged model would be scored as one, and loaded as the other.
    if not _tied_by_configuration(checkpoint):
        return
    for embedding in _ending(checkpoint, _EMBEDDINGS):
        for head in _ending(checkpoint, _HEADS):
            if embedding.shape == head.shape and not _equal(embedding, head):
                raise CheckpointError(
                    f"{checkpoint.path}: config.json ties the output head to the embedding, but "
                    f"{embedding.name!r} and {head.name!r} are both stored and differ, which loaders read "
                    "differently; set tie_word_embeddings to false, or store one of them"
                )


def _tied_by_configuration(checkpoint: Checkpoint) -> bool:
    for file in checkpoint.side_files:
        if file.name == "config.json":
            config = read_json(file, "a model's configuration", CheckpointError, {})
            return config.get("tie_word_embeddings") is True
    return False


def _ending(checkpoint: Checkpoint, ends: tuple[str, ...]) -> list[TensorInfo]:
    return [
        tensor for name, tensor in checkpoint.tensors.items()
        if any(name == end or name.endswith(f".{end}") for end in ends)
    ]  # fmt: skip


def _equal(first: TensorInfo, second: TensorInfo) -> bool:
    if (first.dtype, first.nbytes) != (second.dtype, second.nbytes):
        return False
    return all(one == other for one, other in zip(_blocks(first), _blocks(second), strict=True))


def _blocks(tensor: TensorInfo) -> Iterator[bytes]:
    # Buffered: a plain read may bring fewer bytes than were asked for.
    with naming(tensor.file), tensor.file.open("rb") as stream:
        stream.seek(tensor.offset)
        for done in range(0, tensor.nbytes, _BLOCK):
            yield stream.read(min(_BLOCK, tensor.nbytes - done))
