"""Where a training runs, and what is said where its memory does not do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from m2m.errors import ConfigError
from m2m.support.devices import cuda_number
from m2m.training.recipe import TrainRecipe


def open_training_device(name: str) -> torch.device:
    """Take hold of a device; `auto` is the first GPU, or the CPU where there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    number = cuda_number(name)
    if number is None:
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if number >= count:
        raise ConfigError(f"train.device = {name!r}: torch {torch.__version__} finds {count} CUDA devices")
    return torch.device("cuda", number)


@contextmanager
def out_of_memory_told(device: torch.device, recipe: TrainRecipe) -> Iterator[None]:
    """Say what to do where a GPU's memory does not do for a step."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        size = min(recipe.micro_batch or recipe.batch, recipe.batch)
        less = (
            f"train.micro_batch = {size // 2} needs about half for activations, and gives the same steps"
            if size > 1
            else 'one example at a time is too much: train.adapter = "lora", a shorter context, '
            "or train.checkpoint_activations"
        )
        raise ConfigError(f"{device} has too little memory for {size} examples at a time: {less}") from error
