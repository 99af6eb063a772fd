"""Files of diagonal Fisher estimates: checkpoints that hold one number for every weight of an expert."""

from __future__ import annotations

from collections.abc import Sequence

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.header import MERGEABLE, TensorInfo
from m2m.errors import CheckpointError
from m2m.merging.methods.spec import Settings


class FisherFiles:
    """The files that a recipe names, each opened once."""

    def __init__(self) -> None:
        self._open: dict[str, Checkpoint] = {}

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Those that have been opened."""
        return tuple(self._open.values())

    def estimates(self, settings: Settings, experts: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Find the estimates that belong to one tensor.

        Args:
            settings: The method's parameters for the tensor; `fisher` of each expert is a file or folder.
            experts: The experts' tensors. [N]

        Returns:
            Their estimates. [N]

        Raises:
            CheckpointError: If a file lacks the tensor, or holds it in another shape or as integers.
        """  # noqa: DOC502 - raised by what is called
        return tuple(
            self._estimate(str(values["fisher"]), expert)
            for values, expert in zip(settings.each, experts, strict=True)
        )

    def _estimate(self, path: str, expert: TensorInfo) -> TensorInfo:
        if path not in self._open:
            self._open[path] = Checkpoint(path)
        found = self._open[path].tensors.get(expert.name)
        if found is None:
            raise CheckpointError(f"{path}: holds no Fisher estimate of tensor {expert.name!r}")
        if found.shape != expert.shape or found.dtype not in MERGEABLE:
            raise CheckpointError(
                f"{path}: Fisher estimate {expert.name!r} is {found.dtype} of shape {list(found.shape)}, "
                f"wanted floats of shape {list(expert.shape)} as in {expert.file}"
            )
        return found
