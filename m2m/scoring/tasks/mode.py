"""Run a module as a scorer must: in evaluation mode, without autograd, and give it back as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain

import numpy as np
import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """Where a module is: the device of its first tensor; the CPU if it has none."""
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


@contextmanager
def scoring(model: nn.Module) -> Iterator[None]:
    """Put a module in evaluation and inference mode for the block; then each submodule has its own again.

    On a CUDA device, sums are done in the dtype they are in, and by the same algorithm every time.

    Args:
        model: The module that is scored.

    Yields:
        None: While the block runs.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode(), repeatable() if device_of(model).type == "cuda" else nullcontext():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def same_draws() -> Iterator[None]:
    """Let the block draw the same random numbers every time, and nobody notice that it drew any.

    Yields:
        None: While the block runs.
    """
    # Users' code draws from numpy's global generator too.
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002
            random.seed(0)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


@contextmanager
def repeatable() -> Iterator[None]:
    """Keep CUDA's libraries from rounding float32 to TF32, and from choosing algorithms by a stopwatch.

    Yields:
        None: While the block runs.
    """
    wanted = [
        (torch.backends.cuda.matmul, "allow_tf32", False),
        (torch.backends.cudnn, "allow_tf32", False),
        (torch.backends.cudnn, "benchmark", False),
        (torch.backends.cudnn, "deterministic", True),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in wanted]
    for place, name, value in wanted:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
