"""What a block's weights are merged of, read from the models' files when the block has its turn."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import TORCH_NAMES
from m2m.checkpoint.layout import Box, Part
from m2m.errors import CheckpointError


class Sources:
    """Reads boxes of weights from the experts.

    Args:
        base: The base model.
        experts: The experts, with its tensor names. [N]
        kept: Tensors that are the base's in every merged model.

    Attributes:
        bytes_read: Bytes read from the shards.
    """

    def __init__(self, base: Checkpoint, experts: Sequence[Checkpoint], kept: Collection[str]) -> None:
        self._base, self._experts, self._kept = base, experts, kept
        self.bytes_read = 0

    def read(self, box: Box, *, floats: bool) -> list[Tensor]:
        """Read a box of every expert [N] of [*S]; of one that is never averaged, the one that all share [1].

        Args:
            box: The box.
            floats: Whether the module's tensor is of floats.

        Returns:
            The experts' tensors, as they are stored.

        Raises:
            CheckpointError: If one cannot be read or is not finite, or tensors differ that must be equal.
        """
        if box.first.stored in self._kept:
            return [self._one(self._base, box)]
        tensors = [self._one(expert, box) for expert in self._experts]
        if floats:
            return tensors
        for expert, tensor in zip(self._experts, tensors, strict=True):
            if not torch.equal(tensor, tensors[0]):
                raise CheckpointError(
                    f"{expert.path}, tensor {box.first.stored}: {tensor.dtype} is never averaged, but "
                    f"differs from {self._experts[0].path}'s"
                )
        return tensors[:1]

    def merges(self, box: Box) -> bool:
        """Whether a box of floats is averaged."""
        return box.first.stored not in self._kept

    def dtype(self, box: Box) -> torch.dtype:
        """Type of a box in a merged model as it would be stored."""
        dtype: torch.dtype = getattr(torch, TORCH_NAMES[self._base.tensors[box.first.stored].dtype])
        return dtype

    def _one(self, model: Checkpoint, box: Box) -> Tensor:
        name, tensor = box.first.stored, self._part(model, box.first)
        if tensor.is_floating_point() and name not in self._kept and not _is_finite(tensor):
            index = (~torch.isfinite(tensor)).nonzero()[0].tolist()
            raise CheckpointError(
                f"{model.path}, tensor {name}: element {index} is {tensor[tuple(index)].item()}"
            )
        for other in box.parts[1:]:
            if not torch.equal(tensor, self._part(model, other)):
                raise CheckpointError(
                    f"{model.path}: {name} and {other.stored} are tied in the module but differ"
                )
        return tensor

    def _part(self, model: Checkpoint, part: Part) -> Tensor:
        # The part alone where it is one run of bytes, else all of the stored tensor.
        info = model.tensors[part.stored]
        place = part.place(info)
        try:
            tensor = read_tensor(place or info)
        except OSError as error:  # a shard that was there when the headers were read
            raise CheckpointError(
                f"{model.path}, tensor {part.stored}: cannot read {error.filename}: {error.strerror}"
            ) from error
        self.bytes_read += tensor.nbytes
        return tensor if place else part.of(tensor).contiguous()


def _is_finite(tensor: Tensor) -> bool:
    # Without a second tensor of its size, unlike torch.isfinite.
    least, most = torch.aminmax(tensor)
    return bool(torch.isfinite(least)) and bool(torch.isfinite(most))
