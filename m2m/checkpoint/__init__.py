"""Checkpoints on disk: open them lazily, check everything that is read, write new ones all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.support.lazy import lazy_names

if TYPE_CHECKING:
    from m2m.checkpoint.aligned import align
    from m2m.checkpoint.checkpoint import Checkpoint
    from m2m.checkpoint.header import TensorInfo
    from m2m.checkpoint.manifest import Verification, verified_state, verify
    from m2m.checkpoint.writer import save

__all__ = ["Checkpoint", "TensorInfo", "Verification", "align", "save", "verified_state", "verify"]

__getattr__ = lazy_names(
    __name__,
    {
        "Checkpoint": "m2m.checkpoint.checkpoint",
        "TensorInfo": "m2m.checkpoint.header",
        "Verification": "m2m.checkpoint.manifest",
        "align": "m2m.checkpoint.aligned",
        "save": "m2m.checkpoint.writer",
        "verified_state": "m2m.checkpoint.manifest",
        "verify": "m2m.checkpoint.manifest",
    },
)
