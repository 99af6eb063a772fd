"""Checkpoints held against each other and themselves: experts fit their base model, tied weights are tied."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from m2m.checkpoint.buffers import is_buffer
from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.header import MERGEABLE, TensorInfo
from m2m.checkpoint.remote.mirror import telling
from m2m.checkpoint.remote.session import origin_of
from m2m.errors import CheckpointError
from m2m.support.files import naming

#: How the names of input embeddings and of output heads end, in the layouts of transformers.
_EMBEDDINGS = (
    "embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight",
    "token_embedding.weight", "shared.weight", "embeddings.weight",
)  # fmt: skip
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight", "output_projection.weight", "decoder.weight")
_OTHER_TOKENS = ": a row is a token, so the vocabularies differ; "
_RESIZE = (
    "give both models one tokenizer and resize embeddings to it (in transformers: resize_token_embeddings)"
)
#: A part of a name that numbers layers, and what tells tables of positions.
_LAYER = re.compile(r"\.\d+\.")
_POSITIONS = re.compile(r"pos|wpe")
#: How tensors of few bits are called by those who pack weights (GPTQ and AWQ, bitsandbytes, MXFP4, and
#: compressed-tensors), of which some say so in a file of their own.
_PACKED = ("qweight", "SCB", "absmax", "_blocks", "_packed")
#: Bytes that are compared at a time.
_BLOCK = 1 << 23


def check_tensor(
    base: Checkpoint,
    expert: Checkpoint,
    wanted: TensorInfo,
    got: TensorInfo,
    *,
    mixed_floats: bool,
    any_rows: bool = False,
    advice: str = "",
) -> None:
    """Refuse a tensor that is not of the base model's shape and type.

    Args:
        base: The base model, or whichever checkpoint the other is held against.
        expert: The other.
        wanted: The base model's tensor.
        got: The other's.
        mixed_floats: Whether it may be of another float type than the base's.
        any_rows: Whether it may be of another vocabulary.
        advice: What to do about another vocabulary.

    Raises:
        CheckpointError: If it is; names expert, tensor, what was got and what was wanted.
    """
    where = f"{expert.path}: tensor {got.name!r}"
    axis = vocabulary_axis(wanted.shape)
    same_width = got.shape[:axis] + got.shape[axis + 1 :] == wanted.shape[:axis] + wanted.shape[axis + 1 :]
    if got.shape != wanted.shape and not (any_rows and same_width):
        by_token = has_token_rows(got.name) and same_width
        raise CheckpointError(
            f"{where} has shape {list(got.shape)}, wanted {list(wanted.shape)} as in {base.path}"
            + (_OTHER_TOKENS + (advice or _RESIZE) if by_token else "")
        )
    both_floats = got.dtype in MERGEABLE and wanted.dtype in MERGEABLE
    if got.dtype != wanted.dtype and not (mixed_floats and both_floats):
        raise CheckpointError(f"{where} is {got.dtype}, wanted {wanted.dtype} as in {base.path}")


def vocabulary_axis(shape: Sequence[int]) -> int:
    """Axis of the tokens in a vocabulary tensor: the first, but for a bias that is stored as [1, V]."""
    return 1 if len(shape) == 2 and shape[0] == 1 else 0


def vocabulary_tensors(checkpoint: Checkpoint) -> frozenset[str]:
    """Name the tensors whose rows are tokens.

    Args:
        checkpoint: The checkpoint.

    Returns:
        Embeddings and output heads by their names, and what else outside the layers has the embedding's shape
        (heads of other names, but not tables of positions) or is a bias with as many elements as it has rows.
    """
    outside = [info for name, info in checkpoint.tensors.items() if info.shape and not _LAYER.search(name)]
    named = [
        info for info in outside if _is_named(info.name, (*_EMBEDDINGS, *_HEADS)) and len(info.shape) == 2
    ]
    found = {info.name for info in named}
    if named:
        rows, width = named[0].shape
        biases = [info for info in outside if info.shape in ((rows,), (1, rows)) and "bias" in info.name]
        heads = [info for info in outside if info.shape == (rows, width) and not _POSITIONS.search(info.name)]
        if rows != width:  # else shapes tell nothing
            found |= {info.name for info in (*biases, *heads)}
    return frozenset(found)


def check_ties(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose configuration ties embedding and head while both are stored and differ."""
    # Loaders do not agree which model that is: transformers 4 uses the embedding for both, 5 each by itself.
    # A merged model would be scored as one, and loaded as the other.
    for head, embedding in tied_names(checkpoint).items():
        stored = checkpoint.tensors.get(head)
        if stored is not None and not same_bytes(stored, checkpoint.tensors[embedding]):
            raise CheckpointError(
                f"{checkpoint.path}: config.json ties the output head to the embedding, but "
                f"{embedding!r} and {head!r} are both stored and differ, which loaders read "
                "differently; set tie_word_embeddings to false, or store one of them"
            )


def check_not_quantised(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose weights are packed into few bits: their numbers are no weights.

    Args:
        checkpoint: The checkpoint.

    Raises:
        CheckpointError: If it holds whole numbers or 8-bit floats, and its configuration or their names say
            that it is quantised.
    """
    said = checkpoint.config.get("quantization_config")
    for name, info in checkpoint.tensors.items():
        if info.dtype in MERGEABLE or info.dtype == "BOOL" or is_buffer(info):
            continue
        if said or name.endswith(_PACKED):
            how = said.get("quant_method") if isinstance(said, dict) else None
            raise CheckpointError(
                f"{checkpoint.path}: is quantised{f' ({how})' if isinstance(how, str) else ''}: {name!r} is "
                f"{info.dtype}, and such numbers have no average; merge the models that it was made from, "
                "and quantise the result"
            )


def tied_names(checkpoint: Checkpoint) -> dict[str, str]:
    """Name the tensors that are another's second name, stored or not.

    Args:
        checkpoint: The checkpoint.

    Returns:
        Name of the embedding, or of whatever is stored, by the tied tensor's name: what the metadata say,
        and the head that `tie_word_embeddings` in config.json ties to the embedding.
    """
    tied = dict(checkpoint.tied)
    if checkpoint.config.get("tie_word_embeddings") is True:
        for embedding in _ending(checkpoint, _EMBEDDINGS):
            heads = [head.name for head in _ending(checkpoint, _HEADS) if head.shape == embedding.shape]
            tied |= dict.fromkeys(heads or _HEADS, embedding.name)
    return tied


def head_ties(checkpoint: Checkpoint) -> dict[str, str]:
    """Name the heads that a checkpoint does not store and an embedding stands for.

    Args:
        checkpoint: The checkpoint.

    Returns:
        Name of the embedding by each name that the head can have: as `tied_names`, also where the
        configuration says nothing, for then transformers ties them.
    """
    ties = tied_names(checkpoint)
    if checkpoint.config and "tie_word_embeddings" not in checkpoint.config:
        embeddings = _ending(checkpoint, _EMBEDDINGS)
        if len(embeddings) == 1 and not _ending(checkpoint, _HEADS):
            ties |= dict.fromkeys(_HEADS, embeddings[0].name)
    return {head: kept for head, kept in ties.items() if head not in checkpoint.tensors}


def has_token_rows(name: str) -> bool:
    """Whether a tensor has a row a token, by its name."""
    return _is_named(name, (*_EMBEDDINGS, *_HEADS))


def _ending(checkpoint: Checkpoint, ends: tuple[str, ...]) -> list[TensorInfo]:
    return [
        tensor for name, tensor in checkpoint.tensors.items()
        if _is_named(name, ends)
    ]  # fmt: skip


def _is_named(name: str, ends: tuple[str, ...]) -> bool:
    return f".{name}".endswith(tuple([f".{end}" for end in ends]))


def same_bytes(first: TensorInfo, second: TensorInfo) -> bool:
    """Say whether two stored tensors are of one type and equal, byte for byte."""
    if (first.dtype, first.nbytes) != (second.dtype, second.nbytes):
        return False
    return all(one == other for one, other in zip(_blocks(first), _blocks(second), strict=True))


def _blocks(tensor: TensorInfo) -> Iterator[bytes]:
    origin = origin_of(tensor.file)
    if origin is not None:
        with telling():
            for done in range(0, tensor.nbytes, _BLOCK):
                yield origin.read(tensor.offset + done, min(_BLOCK, tensor.nbytes - done))
        return
    # Buffered: a plain read may bring fewer bytes than were asked for.
    with naming(tensor.file), tensor.file.open("rb") as stream:
        stream.seek(tensor.offset)
        for done in range(0, tensor.nbytes, _BLOCK):
            yield stream.read(min(_BLOCK, tensor.nbytes - done))
