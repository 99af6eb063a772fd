"""A training's state on the way: one that was killed goes on at its last save, and ends in the same bits."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m2m.setups.kept_tensors import kept_content
from m2m.setups.protocol import trainable
from m2m.support.files import replacing

#: After each step: its number from 1, the loss in nat, the learning rate.
Curve = list[tuple[int, float, float]]


@dataclass(frozen=True)
class SavedTraining:
    """Where a training's state is saved.

    Attributes:
        path: The file.
        made_of: Content key of all that decides the training: another one's state is not taken.
    """

    path: Path
    made_of: str

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        curve: Curve,
    ) -> None:
        """Write the state after a step: trained tensors, optimizer, random numbers, loss curve."""
        content = {
            "made_of": self.made_of,
            "step": step,
            "tensors": {name: tensor.detach() for name, tensor in trainable(model).items()},
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "curve": curve,
        }
        written = io.BytesIO()  # torch does not say what the system says when it cannot write a file
        torch.save(content, written)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as file:
            file.write(written.getbuffer())

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, Curve]:
        """Bring model, optimizer and random numbers to where they were saved.

        Args:
            model: The model.
            optimizer: Its optimizer.

        Returns:
            Steps that are done, 0 if nothing of this training was saved, and the loss curve so far.

        Raises:
            DataError: If the file is damaged.
        """  # noqa: DOC502 - raised by what is called
        if not self.path.exists():
            return 0, []
        content = kept_content(self.path, "a training's saved state (delete it: it begins anew)")
        if not isinstance(content, Mapping) or content.get("made_of") != self.made_of:
            return 0, []
        _copy(content["tensors"], trainable(model))
        optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"])
        if content["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(content["cuda"])
        return content["step"], [tuple(point) for point in content["curve"]]

    def remove(self) -> None:
        """Forget the state: the training is done."""
        self.path.unlink(missing_ok=True)


def _copy(saved: Mapping[str, Tensor], tensors: Mapping[str, Any]) -> None:
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(saved[name])
