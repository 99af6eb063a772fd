"""Tied weights that are not: a configuration that ties two tensors which are stored, and differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from m2m.errors import CheckpointError
from m2m.support.doors import read_json
from m2m.support.files import naming

if TYPE_CHECKING:
    from m2m.checkpoint.checkpoint import Checkpoint
    from m2m.checkpoint.header import TensorInfo

#: How the names of input embeddings and of output heads end, in the layouts of transformers.
_EMBEDDINGS = (
    "embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight",
    "token_embedding.weight", "shared.weight",
)  # fmt: skip
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight", "output_projection.weight", "decoder.weight")
#: Bytes that are compared at a time.
_BLOCK = 1 << 23


def check_ties(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose configuration ties embedding and head while both are stored and differ.

    Loaders do not agree which model that is: transformers 4 uses the embedding for both, 5 each by itself. A
    merged model would be scored as one, and loaded as the other.

    Args:
        checkpoint: A checkpoint; without a configuration there is nothing to check.

    Raises:
        CheckpointError: If it is so.
    """
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
