"""Run a module as a scorer must: in evaluation mode, without autograd, and give it back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def scoring(model: nn.Module) -> Iterator[None]:
    """Put a module in evaluation and inference mode for the block; then each submodule has its own again.

    Args:
        model: The module that is scored.

    Yields:
        None: While the block runs.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training
