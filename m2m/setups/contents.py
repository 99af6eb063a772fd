"""What a set-up consists of, part by part, as content hashes: so that what changed can be found and named."""

from __future__ import annotations

import hashlib

import torch

from m2m.setups.protocol import Examples, Setup


def contents_of(setup: Setup) -> dict[str, str]:
    """Hash what training and scoring read, whatever the set-up says of itself.

    Args:
        setup: The set-up.

    Returns:
        Hash by part: `dataset NAME`, `target NAME`, and the set-up's own `version`, for model and metrics.
    """
    contents = {f"dataset {name}": _hash(examples) for name, examples in setup.datasets.items()}
    for name, target in setup.targets.items():
        contents[f"target {name}"] = _hash(target.validation, target.test)
    return contents | {"version": setup.version}


def _hash(*several: Examples) -> str:
    content = hashlib.sha256()
    for examples in several:
        for field in examples.tensors:
            content.update(f"{field.dtype} {tuple(field.shape)}\n".encode())
            content.update(field.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()[:32]
